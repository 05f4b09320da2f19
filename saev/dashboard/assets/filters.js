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

/** The settings of the filters. */
const filtersOf = (/** @type {State} */ { bounds, preset, ...view }) => ({
  bounds,
  preset,
  find: view.find,
});

const filtersAreUsual = () =>
  JSON.stringify(filtersOf(state)) === JSON.stringify(filtersOf(usual()));

/** The latents that pass all filters, in order. If the reader enters a number, it always passes. */
function select() {
  const text = state.find.trim().toLowerCase();
  const tops = about.labels.map((label) => texts("top_label", label));
  const tests = about.filters.map(passes);
  if (state.preset === "2024") tests.push(preset2024());
  if (text)
    tests.push((latent) => tops.some((labels) => labels[latent]?.toLowerCase().includes(text)));
  const images = numbers("image_count", state.label).map(Number);
  const by = /** @type {(number | null)[]} */ (figures[state.sort]);
  const sign = state.down ? -1 : 1;
  return Array.from({ length: about.n_latents }, (_, latent) => latent)
    .filter((latent) => String(latent) === text || tests.every((test) => test(latent)))
    .sort((a, b) => {
      const [x, y] = [by[a], by[b]];
      if (x === null || y === null) return Number(x === null) - Number(y === null) || a - b;
      return sign * (x - y) || images[b] - images[a] || a - b;
    });
}
