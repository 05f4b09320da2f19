// What the reader has chosen. It lives in the address, so a link or the back button brings it back.

/**
 * @typedef {object} State
 * @property {string} sort a key of `orders`
 * @property {boolean} down whether the largest come first
 * @property {Record<string, number>} bounds of the filters, by their keys
 * @property {string} preset of filters
 * @property {string} find a label, or the number of a latent
 * @property {string} label the one that cards and purity are about; empty if there is none
 * @property {string} heat how to show where a latent fires
 * @property {number} strength of that, in percent
 * @property {number} page
 * @property {number | null} latent the one that is open
 */

/** @type {State} */
let state;

/** @returns {State} */
const usual = () => ({
  sort: orders()[0].key,
  down: true,
  bounds: Object.fromEntries(about.filters.map((filter) => [filter.key, filter.usual])),
  preset: "",
  find: "",
  label: about.labels[0] ?? "",
  heat: "spotlight",
  strength: 70,
  page: 0,
  latent: null,
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
  wanted.sort = choice(
    "sort",
    wanted.sort,
    orders().map((order) => order.key),
  );
  if (hash.has("down")) wanted.down = hash.get("down") === "true";
  for (const key of Object.keys(wanted.bounds)) {
    wanted.bounds[key] = amount(key, wanted.bounds[key]);
  }
  wanted.preset = choice(
    "preset",
    wanted.preset,
    presets.map(([preset]) => preset),
  );
  wanted.find = hash.get("find") ?? wanted.find;
  wanted.label = choice("label", wanted.label, about.labels);
  wanted.heat = choice(
    "heat",
    wanted.heat,
    heatModes.map(([mode]) => mode),
  );
  wanted.strength = amount("strength", wanted.strength);
  wanted.page = amount("page", wanted.page);
  const latent = amount("latent", -1);
  if (Number.isInteger(latent) && latent >= 0 && latent < about.n_latents) wanted.latent = latent;
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
  const standard = new Map(Object.entries(flat(usual())));
  for (const [key, value] of Object.entries(flat({ ...state, ...change }))) {
    if (value !== standard.get(key) && value !== null) hash.set(key, String(value));
  }
  return `#${hash}`;
}

// The back button undoes the opening of a latent, but no other change. The address follows after a
// moment: browsers ignore a page that changes it with every move of a slider.

/** @type {number | null} */
let late = null;

function settle() {
  if (late === null) return;
  clearTimeout(late);
  late = null;
  const opened = Boolean(history.state?.opened) && state.latent !== null;
  history.replaceState({ opened }, "", address({}));
}

/**
 * Changes what is shown.
 * @param {Partial<State>} change
 */
function go(change) {
  const opens = state.latent === null && Number.isInteger(change.latent);
  if (opens) settle();
  state = { ...state, ...change };
  if (opens) history.pushState({ opened: true }, "", address({}));
  else late ??= setTimeout(settle, 200);
  render();
}

/**
 * Changes which latents are listed, and shows their first page.
 * @param {Partial<State>} change
 */
const restart = (change) => go({ page: 0, ...change });

function closeLatent() {
  settle();
  if (history.state?.opened) history.back();
  else go({ latent: null });
}
