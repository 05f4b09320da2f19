// What the reader has chosen. It lives in the address, so a link or the back button brings it back.

/**
 * @typedef {object} State
 * @property {string} view how latents are shown: a key of `views`
 * @property {boolean} whole whether the wall shows whole images, not crops
 * @property {string} x the figure across the map: a key of `axes`
 * @property {string} y the figure up the map
 * @property {string} places by what the map places latents: "figures" or "directions"
 * @property {boolean} lasso whether a line is drawn around latents on the map, not a rectangle
 * @property {string} brush what is selected on the map (see `selectionOf`); empty for all
 * @property {string} sort a key of `orders`
 * @property {boolean} down whether the largest come first
 * @property {Record<string, number>} bounds of the filters, by their keys
 * @property {string} preset of filters
 * @property {string} chip the kind of latents that are listed; empty for all
 * @property {string} find a label, the name of an image, or the number of a latent
 * @property {string} label the one that cards and purity are about; empty if there is none
 * @property {string} heat how to show where a latent fires
 * @property {number} strength of that, in percent
 * @property {boolean} log whether the counts of histograms are on a log scale
 * @property {number} page
 * @property {string} a the label on the left of a contrast; empty for the usual one
 * @property {string} b the one on the right
 * @property {string} starred on which side of a contrast the starred images are: "a", "b", or
 *     empty for neither; beside them, an empty label stands for all other images
 * @property {string} side of which a contrast shows the latents: "a", "b", or empty for both
 * @property {string} by what a contrast is ordered: "mean", or empty for the share of images
 * @property {number | null} one the latent on the left of a comparison; null for the usual one
 * @property {number | null} two the one on the right
 * @property {number | null} latent the one that is open
 * @property {number | null} row the image that is open
 */

/** @type {State} */
let state;

/** @returns {State} */
const usual = () => ({
  view: views[0].key,
  whole: false,
  x: "fire_rate",
  y: about.labels.length ? `label_lift.${about.labels[0]}` : "mean_activation",
  places: "figures",
  lasso: false,
  brush: "",
  sort: orders()[0].key,
  down: !orders()[0].rising,
  bounds: Object.fromEntries(about.filters.map((filter) => [filter.key, filter.usual])),
  preset: "",
  chip: "",
  find: "",
  label: about.labels[0] ?? "",
  heat: heatModes[0][0],
  strength: 70,
  log: false,
  page: 0,
  a: "",
  b: "",
  starred: "",
  side: "",
  by: "",
  one: null,
  two: null,
  latent: null,
  row: null,
});

/** The state in the address. Wrong or missing values get their defaults. */
function read() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const wanted = usual();
  /**
   * @param {string} key
   * @param {number} otherwise
   */
  const amount = (key, otherwise) => {
    const text = hash.get(key) ?? "";
    return text !== "" && Number.isFinite(Number(text)) ? Number(text) : otherwise;
  };
  /**
   * @param {string} key
   * @param {string} otherwise
   * @param {string[]} allowed
   */
  const choice = (key, otherwise, allowed) => {
    const text = hash.get(key) ?? otherwise;
    return allowed.includes(text) ? text : otherwise;
  };
  wanted.view = choice(
    "view",
    wanted.view,
    views.map(({ key }) => key),
  );
  wanted.whole = hash.get("whole") === "true";
  const figuresOfAxes = axes().map(({ key }) => key);
  wanted.x = choice("x", wanted.x, figuresOfAxes);
  wanted.y = choice("y", wanted.y, figuresOfAxes);
  const sorts = orders();
  wanted.sort = choice(
    "sort",
    wanted.sort,
    sorts.map((order) => order.key),
  );
  wanted.down = !sorts.some((order) => order.key === wanted.sort && order.rising);
  if (hash.has("down")) wanted.down = hash.get("down") === "true";
  for (const filter of about.filters) {
    wanted.bounds[filter.key] = bound(filter, hash.get(filter.key) ?? "") ?? filter.usual;
  }
  wanted.preset = choice(
    "preset",
    wanted.preset,
    presets.map(([preset]) => preset),
  );
  wanted.chip = choice("chip", "", ["", "noted", ...about.chips.map(({ key }) => key)]);
  wanted.places = choice(
    "places",
    wanted.places,
    placings().map(([places]) => places),
  );
  wanted.lasso = hash.get("lasso") === "true";
  wanted.brush = isSelection(hash.get("brush") ?? "") ? String(hash.get("brush")) : "";
  wanted.find = hash.get("find") ?? wanted.find;
  wanted.label = choice("label", wanted.label, about.labels);
  wanted.heat = choice(
    "heat",
    wanted.heat,
    heatModes.map(([mode]) => mode),
  );
  wanted.strength = amount("strength", wanted.strength);
  wanted.log = hash.get("log") === "true";
  wanted.page = amount("page", wanted.page);
  wanted.a = hash.get("a") ?? "";
  wanted.b = hash.get("b") ?? "";
  wanted.starred = choice("starred", "", ["a", "b"]);
  wanted.side = choice("side", "", ["a", "b"]);
  wanted.by = choice("by", "", ["mean"]);
  for (const key of /** @type {const} */ (["one", "two", "latent"])) {
    const latent = amount(key, -1);
    if (Number.isInteger(latent) && latent >= 0 && latent < about.n_latents) wanted[key] = latent;
  }
  const row = amount("row", -1);
  if (Number.isInteger(row) && row >= 0 && wanted.latent === null) wanted.row = row;
  return wanted;
}

/**
 * The address after a change. It names only what isn't at its default.
 * @param {Partial<State>} change
 */
function address(change) {
  /** @param {State} all */
  const flat = ({ sort, down, bounds, ...rest }) => ({ sort, down, ...bounds, ...rest });
  const hash = new URLSearchParams();
  const wanted = { ...state, ...change };
  const rising = orders().some((order) => order.key === wanted.sort && order.rising);
  const standard = new Map(Object.entries(flat({ ...usual(), down: !rising })));
  for (const [key, value] of Object.entries(flat(wanted))) {
    if (value !== standard.get(key) && value !== null) hash.set(key, String(value));
  }
  return `#${hash}`;
}

// Each opened latent or image is an entry of the browser's history, which knows how many of them
// lie between it and the list. Other changes are none. The address follows them after a moment:
// browsers ignore a page that changes it with every move of a slider.

/** @type {number | null} */
let late = null;

/** What to show once the browser is back at the list. @type {State | null} */
let returning = null;

/** Browsers forget what lies 50 entries back. From further on, the list is shown where we are. */
const FAR = 45;

/** How many latents were opened since the list. */
const depth = () => Number(history.state?.depth ?? 0);

function settle() {
  if (late !== null) clearTimeout(late);
  late = null;
  history.replaceState({ depth: depth() }, "", address({}));
}

/**
 * Keeps a change that needs no drawing.
 * @param {Partial<State>} change
 */
function keep(change) {
  state = { ...state, ...change };
  late ??= setTimeout(settle, 350);
}

/**
 * Changes what is shown.
 * @param {Partial<State>} change
 */
function go(change) {
  keep(change);
  render();
}

/**
 * Changes which latents are listed, and shows their first page.
 * @param {Partial<State>} change
 */
const restart = (change) => leaveFor({ page: 0, ...change });

/**
 * Opens a latent. The back button leads to what was shown before.
 * @param {number} latent
 */
const openLatent = (latent) => visit({ latent, row: null });

/**
 * Opens an image. The back button leads to what was shown before.
 * @param {number} row
 */
const openImage = (row) => visit({ row, latent: null });

/** @param {Partial<State>} change */
function visit(change) {
  settle();
  state = { ...state, ...change };
  history.pushState({ depth: depth() + 1 }, "", address({}));
  render();
}

/** Goes back to the list as it is now, however many latents were opened. */
const closeLatent = () => leaveFor({});

/**
 * Changes the list, and goes back to it if a latent or an image is open.
 * @param {Partial<State>} change
 */
function leaveFor(change) {
  const isOpen = state.latent !== null || state.row !== null;
  if (!isOpen || !depth() || depth() > FAR) {
    if (isOpen) history.replaceState({ depth: 0 }, "");
    go({ ...change, latent: null, row: null });
    return;
  }
  state = { ...state, ...change };
  const isLeaving = returning !== null;
  returning = { ...state, latent: null, row: null };
  // A reader who types is faster than the browser.
  if (isLeaving) return;
  settle();
  history.go(-depth());
}

/**
 * Follows the browser through its history, or to an address that the reader has typed.
 * @param {PopStateEvent} travel
 */
function travelled(travel) {
  if (late !== null) clearTimeout(late);
  late = null;
  const { heat, strength, log } = state;
  if (returning) state = returning;
  // How latents are shown is the reader's choice, not a place.
  else state = travel.state ? { ...read(), heat, strength, log } : read();
  returning = null;
  settle();
  render();
}
