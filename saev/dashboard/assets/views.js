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
  {
    key: "contrast",
    title: "Contrast",
    legend: contrastMeaning,
    render: showContrast,
    reveal: revealContrast,
  },
  {
    key: "compare",
    title: "Compare",
    legend: compareMeaning,
    render: showCompare,
    reveal: revealCompared,
  },
  { key: "quiz", title: "Quiz", legend: quizMeaning, render: showQuiz, reveal: revealQuiz },
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

/**
 * A group of buttons of which one is chosen.
 * @param {string} spoken
 * @param {{ title: string, chosen: boolean, change: Partial<State> }[]} options
 */
function segments(spoken, options) {
  const buttons = options.map(({ title, chosen, change }) =>
    make(
      "button",
      { type: "button", "aria-pressed": String(chosen), onclick: () => go(change) },
      title,
    ),
  );
  return make("div", { class: "segments", role: "group", "aria-label": spoken }, ...buttons);
}

/**
 * Shows the buttons of a view. One that had the focus keeps it.
 * @param {...HTMLElement} tools
 */
function showTools(...tools) {
  const focused = at("tools").querySelector(":focus")?.textContent;
  at("tools").replaceChildren(...tools);
  for (const button of at("tools").querySelectorAll("button")) {
    if (button.textContent === focused) button.focus();
  }
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
