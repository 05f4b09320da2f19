// The page of one run: how it starts, and what it does when the state changes.

/** How many cards a page has. */
const PAGE = 24;

/**
 * The latents that pass the filters, in order.
 * @type {number[]}
 */
let shown = [];

// The state that the list and the cards were made for. They are made again only if it changes.
let listed = "";
let drawn = "";

/** Shows the current state. */
function render() {
  const wanted = JSON.stringify([state.sort, state.down, state.label, filtersOf(state)]);
  if (wanted !== listed) shown = select();
  listed = wanted;
  const last = Math.max(0, Math.ceil(shown.length / PAGE) - 1);
  state.page = Math.min(Math.max(0, Math.floor(state.page)), last);
  showState();
  const look = JSON.stringify([wanted, state.page, state.heat === "off"]);
  if (look !== drawn) showCards();
  drawn = look;
  detail();
}

/** @param {Error} error */
function fail(error) {
  at("found").textContent = `${error.message}. Was the folder copied whole?`;
}

function header() {
  document.title = `${about.run.sae} · ${about.run.images} · saev`;
  const kind = `${about.architecture} dictionary of ${about.stream}`;
  const dictionary = [kind, `d = ${about.d}`, ...told(about.telling)].join(", ");
  const run = make(
    "div",
    {},
    make("a", { class: "back", href: "../../../../../index.html" }, "← All runs"),
    make("h1", {}, `What ${about.model} sees`),
    make("p", { class: "soft" }, dictionary),
    lineage(about.run),
    latentCounts(about.summary),
    ...about.doubts.map(doubtful),
  );
  const tables = [figuresTable(about.summary), purityTable(about.summary)];
  at("header").append(
    make("div", { class: "top" }, run, make("div", { class: "tables" }, ...tables)),
  );
  const words =
    "A latent is one direction of the dictionary. Its images are those on which it is most " +
    "active, cropped as the model saw them. Purity is the share of the most common label among " +
    "them. Keys: ← → go to another latent, Esc closes it.";
  at("footer").append(make("p", {}, words));
  if (about.credit) at("footer").append(make("p", {}, about.credit));
}

/** Records when the first cards and their visible images were on the screen. */
async function painted() {
  await Promise.allSettled(shown.slice(0, PAGE).map(dataOf));
  await new Promise(requestAnimationFrame);
  const seen = [...document.querySelectorAll("img")].filter(
    (image) => image.closest(".card") && image.getBoundingClientRect().top < window.innerHeight,
  );
  await Promise.allSettled(seen.map((image) => image.decode()));
  requestAnimationFrame(() => {
    document.documentElement.dataset.painted = String(Math.round(performance.now()));
  });
}

function listen() {
  const again = () => {
    state = read();
    render();
  };
  window.addEventListener("popstate", again);
  window.addEventListener("hashchange", again);
  dialog().addEventListener("cancel", (cancel) => {
    cancel.preventDefault();
    closeLatent();
  });
  dialog().addEventListener("close", () => {
    if (state.latent !== null) closeLatent();
  });
  dialog().addEventListener("click", (click) => {
    if (click.target === dialog()) closeLatent();
  });
  document.addEventListener("keydown", (press) => {
    const { target } = press;
    const typing = target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
    if (state.latent === null || typing) return;
    if (press.key === "ArrowLeft") step(-1);
    if (press.key === "ArrowRight") step(1);
  });
}

/**
 * Fills the page.
 * @param {About} data
 */
async function start(data) {
  about = data;
  header();
  try {
    await load("data/latents.js");
  } catch (error) {
    const message = `${/** @type {Error} */ (error).message}. Was the folder copied whole?`;
    at("cards").append(make("p", { class: "nothing" }, message));
    return;
  }
  figures = /** @type {Figures} */ (saevData.latents);
  controls();
  at("pages").append(pager());
  at("pages-below").append(pager());
  listen();
  state = read();
  render();
  await painted();
}
