// The figures of a latent. `about.columns` says what each is called and how to format it.

/** @param {Amount} x */
const times = (x) => (absent(x) ? missing : `\u00d7 ${number(x, x < 10 ? 2 : 3)}`);

/** @type {Record<Format, (x: any, digits?: number) => string>} */
const formats = {
  chance: (x) => (x !== null && x < 0.01 ? "< 0.01" : share(x)),
  count: (x) => count(x),
  lift: (x) => times(x),
  number: (x, digits) => number(x, digits),
  percent: (x) => percent(x),
  share: (x) => share(x),
  text: (x) => (absent(x) ? missing : clipped(x)),
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
const numbers = (column, label) => /** @type {Numbers} */ (figures[keyOf(columnOf(column), label)]);

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
 * A latent's name: the label of its top images, if it is more common there than chance allows.
 * @param {number} latent
 * @param {string} label may be empty: there is no label
 */
function nameOf(latent, label) {
  return label && numbers("named", label)[latent] ? texts("top_label", label)[latent] : null;
}

/**
 * How many of the top images have the latent's name or most common label, and how common that label
 * is: "16 of 16, base 3 %".
 * @param {number} latent
 * @param {string} label
 */
function evidence(latent, label) {
  const most = Math.min(Number(numbers("n_valid", label)[latent]), LABELLED_IMAGES);
  const base = percent(numbers("top_label_base", label)[latent]);
  return `${count(numbers("top_label_count", label)[latent])} of ${count(most)}, base ${base}`;
}

/** How many top images count for the label of a latent. */
const LABELLED_IMAGES = 16;

/** @typedef {{ key: string, title: string, rising: boolean, format: Format }} Axis */

/**
 * What latents can be sorted by: names of figures, with titles.
 * @returns {Axis[]}
 */
function orders() {
  const columns = about.orders.map(columnOf);
  /**
   * @param {Column} column
   * @param {string} label empty if it is of none
   */
  const order = (column, label) => ({
    key: keyOf(column, label),
    title: label ? `${column.title} by ${label}` : column.title,
    rising: column.rising,
    format: column.format,
  });
  const ofLabels = columns.filter((column) => column.of_label);
  const others = columns.filter((column) => !column.of_label);
  return [
    ...about.labels.flatMap((label) => ofLabels.map((column) => order(column, label))),
    ...others.map((column) => order(column, "")),
  ];
}

/** What the axes of the map can show: all of these but the mere numbers of places and latents. */
const axes = () => orders().filter(({ key }) => key !== "latent" && !key.startsWith("order."));

/**
 * The axes of the projection of directions, which have no unit; none without a projection.
 * @returns {Axis[]}
 */
const planeAxes = () =>
  PLANE.filter((key) => key in figures).map((key) => ({
    key,
    title: "direction",
    rising: false,
    format: "number",
  }));
