// The views of a run: ways to show the latents that pass the filters. A new one is a row here.

/**
 * @typedef {object} View
 * @property {string} key in the address. The view draws into the element `view-KEY`
 * @property {string} title
 * @property {() => string} legend what it shows
 * @property {() => void} render draws what the state says
 * @property {(latent: number) => void} reveal brings a latent into view, with the focus
 */

/**
 * The first one is the default.
 * @type {View[]}
 */
const views = [
  { key: "list", title: "List", legend: cardMeanings, render: showCards, reveal: revealCard },
  { key: "wall", title: "Wall", legend: wallMeaning, render: showWall, reveal: revealTile },
  { key: "map", title: "Map", legend: mapMeaning, render: showMap, reveal: revealOnMap },
];

/** The view that the state names. */
const viewNow = () => /** @type {View} */ (views.find(({ key }) => key === state.view));

/** Makes a place for each view, and returns the buttons that choose one. */
function viewButtons() {
  for (const { key } of views) {
    if (!document.getElementById(`view-${key}`))
      at("list").append(make("div", { id: `view-${key}` }));
  }
  const buttons = views.map(({ key, title }) =>
    make("button", { type: "button", value: key, onclick: () => leaveFor({ view: key }) }, title),
  );
  const group = { class: "segments", id: "views", role: "group", "aria-label": "Views" };
  return make("div", group, ...buttons);
}

/** Draws the view that the state names, and hides the others. */
function showView() {
  if (at("list").dataset.view !== state.view) {
    at("list").dataset.view = state.view;
    at("tools").replaceChildren();
    listScroll = 0;
    window.scrollTo(0, 0);
  }
  for (const { key } of views) at(`view-${key}`).hidden = key !== state.view;
  // The map has a card too, and a latent has one at most.
  if (state.view !== "list") at("cards").replaceChildren();
  viewNow().render();
}
