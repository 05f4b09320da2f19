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
  if (wanted !== listed) {
    listed = wanted;
    shown = select();
  }
  const last = Math.max(0, Math.ceil(shown.length / PAGE) - 1);
  state.page = Math.min(Math.max(0, Math.floor(state.page)), last);
  showState();
  const { view, whole, x, y, places, lasso, a, b, starred, side, by, one, two } = state;
  const page = view === "list" ? state.page : 0;
  const chosen = [view, page, whole, x, y, places, lasso, a, b, starred, side, by, one, two];
  const isBare = state.heat === "off";
  const look = JSON.stringify([wanted, chosen, isBare, namesRead]);
  if (look !== drawn) showView();
  drawn = look;
  imagesFound(state);
  showImage();
  showLatent();
}

/** @param {Error} error */
function fail(error) {
  at("found").textContent = plain(error.message);
}

/**
 * An error in words, for where it isn't said with the list.
 * @param {unknown} error
 */
const alertOf = (error) =>
  make("p", { class: "nothing", role: "alert" }, plain(/** @type {Error} */ (error).message));

/**
 * Says an error in a view that hides what is said of the list.
 * @param {string} view
 * @param {unknown} error
 */
const failIn = (view, error) => at(view).replaceChildren(alertOf(error));

function header() {
  document.title = plain(`${about.run.sae} · ${about.run.images} · saev`);
  const kind = `${about.architecture} dictionary of ${about.stream}`;
  const size = `${count(about.n_latents)} latents`;
  const dictionary = [kind, size, `d = ${about.d}`, ...told(about.telling)].join(", ");
  const tables = [figuresTable(about.summary), purityTable(about.summary), evaluation()];
  const runCard = make(
    "details",
    { class: "run-card" },
    make("summary", {}, "About this run"),
    make(
      "div",
      { class: "top" },
      make(
        "div",
        {},
        make("p", { class: "soft" }, dictionary),
        lineage(about.run),
        latentCounts(about.summary),
      ),
      make("div", { class: "tables" }, ...tables),
    ),
  );
  at("header").append(
    make("a", { class: "back", href: "../../../../../index.html" }, "← All runs"),
    make("h1", {}, `What ${about.model} sees`),
    make("p", { class: "soft" }, dictionary),
    runCard,
    ...about.doubts.map(doubtful),
  );
  const words =
    "A latent is one direction of the dictionary. Its images are those on which it is most " +
    "active, cropped as the model saw them. ";
  at("footer").append(make("p", {}, words + keysTold));
  if (about.credit) at("footer").append(make("p", {}, about.credit));
}

/**
 * Which classes the figures leave out, and why.
 * @param {LeftOut} leftOut
 */
function leftOutClasses({ label, n, named: first }) {
  const classes = n === 1 ? "class is" : "classes are";
  const more = n > first.length ? ` and ${count(n - first.length)} more` : "";
  return make(
    "p",
    { class: "soft" },
    `${label}: ${count(n)} ${classes} left out, with fewer than 10 images (in brackets) or none ` +
      `on one side of the split: ${first.join(", ")}${more}.`,
  );
}

/** The figures of the evaluation, and which others there are; null without one. */
function evaluation() {
  if (!about.evaluation) return null;
  const { figures: found, left_out: leftOut, name: directory, others } = about.evaluation;
  const more = others.length ? ` This analysis also has ${others.join(", ")}, not shown here.` : "";
  return make(
    "div",
    {},
    evaluationTable(found),
    ...leftOut.map(leftOutClasses),
    make("p", { class: "soft" }, `${directory}.${more}`),
  );
}

/** Records when the first cards and their visible images were on the screen. */
async function painted() {
  await cardsFilled;
  await new Promise(requestAnimationFrame);
  const seen = [...document.querySelectorAll("img")].filter(
    (image) => image.checkVisibility() && image.getBoundingClientRect().top < window.innerHeight,
  );
  await Promise.allSettled(seen.map((image) => image.decode()));
  requestAnimationFrame(() => {
    document.documentElement.dataset.painted = String(Math.round(performance.now()));
  });
}

const keysTold =
  "Keys: / finds, ← → or k j go to another latent, h changes how it shows where it fires, s " +
  "stars, n names, w shows whole images on the wall, Esc closes, ? shows this.";

/** @param {KeyboardEvent} press */
function pressed(press) {
  const { target } = press;
  const typing = target instanceof Element && target.matches("input, select, textarea");
  const busy = document.querySelector(":popover-open, dialog[open]");
  if (typing || busy || press.ctrlKey || press.metaKey || press.altKey) return;
  const inList = state.latent === null && state.row === null;
  if (press.key === "/") {
    press.preventDefault();
    at("c-find").focus();
  }
  if (press.key === "?") explain(at("controls"), keysTold);
  if (press.key === "Escape" && !inList) closeLatent();
  if (press.key === "w" && inList && state.view === "wall") go({ whole: !state.whole });
  if (press.key === "s" && !inList) {
    /** @type {HTMLElement | null} */ (
      document.querySelector(":is(#latent, #image):not([hidden]) .star")
    )?.click();
  }
  if (inList && state.view === "quiz") quizKey(press.key);
  if (state.latent === null) return;
  if (press.key === "ArrowLeft" || press.key === "k") step(-1);
  if (press.key === "ArrowRight" || press.key === "j") step(1);
  if (press.key === "n") {
    press.preventDefault();
    /** @type {HTMLElement | null} */ (at("latent").querySelector(".note input"))?.focus();
  }
  if (press.key === "h" && about.grid) {
    const modes = heatModes.map(([mode]) => mode);
    go({ heat: modes[(modes.indexOf(state.heat) + 1) % modes.length] });
  }
}

function listen() {
  history.scrollRestoration = "manual";
  window.addEventListener("popstate", travelled);
  document.addEventListener("keydown", pressed);
  at("large").addEventListener("click", () =>
    /** @type {HTMLDialogElement} */ (at("large")).close(),
  );
}

/**
 * Fills the page.
 * @param {About} data
 */
async function start(data) {
  about = data;
  header();
  try {
    await loadFigures();
    await loadProjection();
    await readGiven();
  } catch (error) {
    at("cards").append(alertOf(error));
    return;
  }
  controls();
  readNotes();
  at("list").append(notesBar());
  at("pages").append(pager("above"));
  at("pages-below").append(pager("below"));
  listen();
  state = read();
  render();
  await painted();
}
