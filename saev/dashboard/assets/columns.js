// The figures of a latent. `about.columns` says what each is called and how to format it.

/** @type {Record<Format, (x: any, digits?: number) => string>} */
const formats = {
  chance: (x) => (x !== null && x < 0.01 ? "< 0.01" : share(x)),
  count: (x) => count(x),
  number: (x, digits) => number(x, digits),
  percent: (x) => percent(x),
  share: (x) => share(x),
  text: (x) => x ?? missing,
};

/**
 * @param {string} wanted its name
 * @returns {Column}
 */
function columnOf(wanted) {
  const found = about.columns.find((column) => column.name === wanted);
  if (!found) throw new Error(`there is no column ${wanted}`);
  return found;
}

/**
 * The name of a column in the figures. If there is one for each label, the name includes the label.
 * @param {Column} column
 * @param {string} label
 */
const keyOf = (column, label) => (column.of_label ? `${column.name}.${label}` : column.name);

/**
 * A column of numbers, by latent.
 * @param {string} column its name
 * @param {string} label
 */
const numbers = (column, label) =>
  /** @type {(number | null)[]} */ (figures[keyOf(columnOf(column), label)]);

/**
 * A column of texts, by latent.
 * @param {string} column its name
 * @param {string} label
 */
const texts = (column, label) =>
  /** @type {(string | null)[]} */ (figures[keyOf(columnOf(column), label)]);

/**
 * A figure of a latent, as text.
 * @param {Column} column
 * @param {number} latent
 * @param {string} label
 * @param {number} [digits] of a number
 */
const written = (column, latent, label, digits) =>
  formats[column.format](figures[keyOf(column, label)][latent], digits);

/**
 * Fills in the figures of a note: {name} is a figure of the latent or, if there is none, of all.
 * @param {string} text
 * @param {number} latent
 * @param {string} label
 */
const filled = (text, latent, label) =>
  text.replace(/\{(\w+)\}/g, (_, figure) =>
    figure in about.summary.all
      ? count(Reflect.get(about.summary.all, figure))
      : written(columnOf(figure), latent, label),
  );

/**
 * A latent's name: the label of its top images, if shuffled labels hardly ever have such a share.
 * @param {number} latent
 * @param {string} label may be empty: there is no label
 */
function nameOf(latent, label) {
  if (!label) return null;
  const chance = numbers("label_chance", label)[latent] ?? 1;
  return chance < about.named_below ? texts("top_label", label)[latent] : null;
}

/**
 * What latents can be sorted by: names of figures, with titles.
 * @returns {{ key: string, title: string, rising: boolean }[]}
 */
function orders() {
  const columns = about.orders.map(columnOf);
  const ofLabels = about.labels.flatMap((label) =>
    columns
      .filter((column) => column.of_label)
      .map((column) => ({
        key: keyOf(column, label),
        title: `${column.title} by ${label}`,
        rising: column.rising,
      })),
  );
  const others = columns.filter((column) => !column.of_label);
  return [
    ...ofLabels,
    ...others.map(({ title, rising, ...column }) => ({ key: column.name, title, rising })),
  ];
}
