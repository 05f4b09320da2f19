// Which latents are listed, and in which order. Filters use counts, never missing figures.

/** @type {[string, string][]} */
const presets = [
  ["", "none"],
  ["2024", "2024"],
];

/**
 * The filter of the first explorers (2024): not too rare, not too weak, and enough labels to judge.
 * @returns {(latent: number) => boolean}
 */
function preset2024() {
  const n = about.summary.all.n_vectors;
  const { label } = state;
  const fired = numbers("fire_count", label);
  const means = numbers("mean_top_activation", label);
  const support = label ? numbers("label_support", label) : numbers("image_count", label);
  return (latent) =>
    !absent(means[latent]) &&
    Math.log10(Number(fired[latent]) / n) > -4 &&
    Math.log10(means[latent]) > -0.7 &&
    Number(support[latent]) >= 10;
}

/**
 * A bound as the reader has written it. A share may be written in percent: 75 is 0.75.
 * @param {Filter} filter
 * @param {string} text
 * @returns {number | null} null if it can't be a bound of this filter
 */
function bound({ highest, usual: standard }, text) {
  if (text.trim() === "") return standard;
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) return null;
  if (highest === 1 && value > 1 && value <= 100) return value / 100;
  return highest !== null && value > highest ? null : value;
}

/**
 * Whether a filter lets a latent through, at the bound that the reader has set.
 * @param {Filter} filter
 * @returns {(latent: number) => boolean}
 */
function passes(filter) {
  const values = numbers(filter.column, state.label);
  const given = state.bounds[filter.key];
  const whole = filter.percent_of && about.summary.all[filter.percent_of];
  const limit = whole === null ? given : (given / 100) * whole;
  return filter.bound === "most"
    ? (latent) => absent(values[latent]) || values[latent] <= limit
    : (latent) => limit <= 0 || (!absent(values[latent]) && values[latent] >= limit);
}

/**
 * Whether a latent is one of those that a chip shows.
 * @param {Chip} chip
 * @returns {(latent: number) => boolean}
 */
function belongs({ column, least, most }) {
  const values = numbers(column, state.label);
  return (latent) => {
    const value = values[latent];
    return !absent(value) && value >= least && (most === null || value <= most);
  };
}

/** The latents whose top images have a name with the text that the reader looks for. */
let namesRead = false;

/** Reads the names of images, the first time that the reader looks for a text. */
async function readNames() {
  await load("data/names.js", "names");
  namesRead = true;
  listed = "";
  render();
}

/** @param {string} text in lower case */
function latentsOfNames(text) {
  if (!namesRead) {
    readNames().catch(fail);
    return new Set();
  }
  const { keys, latents } = /** @type {ImageNames} */ (saevData.names);
  return new Set(latents.filter((_, i) => keys[i].toLowerCase().includes(text)).flat());
}

/** The settings of the filters. */
const filtersOf = (/** @type {State} */ { bounds, preset, brush, ...view }) => ({
  bounds,
  preset,
  brush,
  chip: view.chip,
  find: view.find,
});

const filtersAreUsual = () =>
  JSON.stringify(filtersOf(state)) === JSON.stringify(filtersOf(usual()));

/**
 * Whether somebody gave a latent a name with a text.
 * @param {number} latent
 * @param {string} text in lower case
 */
const isCalled = (latent, text) =>
  noteOf(latent).name.toLowerCase().includes(text) ||
  givenTo(latent).some((one) => one.name.toLowerCase().includes(text));

/** The latents that pass all filters, in order. The one whose number is looked for comes first. */
function select() {
  const text = state.find.trim().toLowerCase();
  // Whoever looks for a name finds its latent, also if it fires on no image.
  const bounds = about.filters.map(passes);
  /** @type {((latent: number) => boolean)[]} */
  const tests = [
    (latent) => (text !== "" && isCalled(latent, text)) || bounds.every((inside) => inside(latent)),
  ];
  const kind = about.chips.find(({ key }) => key === state.chip);
  if (kind) tests.push(belongs(kind));
  tests.push(...selects(state.brush));
  if (state.chip === "noted") tests.push((latent) => notes.has(latent) || namings.has(latent));
  if (state.preset === "2024") tests.push(preset2024());
  if (text) {
    const tops = about.labels.map((label) => texts("top_label", label));
    const byName = latentsOfNames(text);
    tests.push(
      (latent) =>
        byName.has(latent) ||
        isCalled(latent, text) ||
        tops.some((labels) => labels[latent]?.toLowerCase().includes(text)),
    );
  }
  const wanted = String(Number(text)) === text ? Number(text) : -1;
  const passed = Array.from({ length: about.n_latents }, (_, latent) => latent).filter(
    (latent) => latent === wanted || tests.every((test) => test(latent)),
  );
  return inOrder(passed, wanted);
}

/**
 * Latents in the order that the state names. Missing figures come last, and of equal ones the
 * latents with the most images come first.
 * @param {number[]} latents
 * @param {number} wanted a latent that comes first; −1 for none
 */
function inOrder(latents, wanted) {
  const images = numbers("image_count", state.label);
  const [positional, dense] = ["positional", "dense"].map((of) => numbers(of, state.label));
  const asideLast = !about.labels.length && state.sort === orders()[0].key;
  const by = /** @type {Numbers} */ (figures[state.sort]);
  const sign = state.down ? -1 : 1;
  // Both are looked up once for each latent, not once for each comparison.
  const group = new Int8Array(about.n_latents);
  const key = new Float64Array(about.n_latents);
  for (const latent of latents) {
    if (latent === wanted) group[latent] = -1;
    else if (asideLast && (positional[latent] || dense[latent])) group[latent] = 1;
    key[latent] = absent(by[latent]) ? Infinity : sign * by[latent];
  }
  // The difference of two infinities isn't a number, so what follows decides.
  return latents.sort(
    (a, b) => group[a] - group[b] || key[a] - key[b] || images[b] - images[a] || a - b,
  );
}
