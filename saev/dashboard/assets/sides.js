// The images of the views with two sides.

/**
 * What a click on a link does: it shows a latent or an image, unless the reader wants a new window.
 * @param {{ latent: number } | { row: number }} what
 */
const opens = (what) => (/** @type {MouseEvent} */ click) => {
  if (click.ctrlKey || click.metaKey || click.shiftKey) return;
  click.preventDefault();
  if ("latent" in what) openLatent(what.latent);
  else openImage(what.row);
};

/**
 * A link to a latent, under its number.
 * @param {string} view that shows it: the link can be found by VIEW-LATENT
 * @param {number} latent
 */
const latentLink = (view, latent) =>
  make(
    "a",
    { id: `${view}-${latent}`, href: address({ latent, row: null }), onclick: opens({ latent }) },
    `Latent ${latent}`,
  );

/**
 * The images on which a latent fires, of those on its page, the strongest first: for each row its
 * activation as a part of the latent's largest, and its strongest patch.
 * @param {number} latent
 * @param {LatentData} data
 */
function firingImages(latent, { rows, values, patches }) {
  const most = Number(numbers("max_activation", state.label)[latent]);
  const slots = rows.map((_, slot) => slot).filter((slot) => Number(values[slot]) > 0);
  slots.sort((i, j) => Number(values[j]) - Number(values[i]) || i - j);
  /** @type {Map<number, { part: number, patch: number }>} */
  const found = new Map();
  for (const slot of slots) {
    found.set(rows[slot], { part: Number(values[slot]) / most, patch: patches[slot] });
  }
  return found;
}

/**
 * A bar of an activation.
 * @param {number} part of the latent's largest
 * @param {string} [kind] class
 */
const activationBar = (part, kind = "") =>
  make("span", { class: `activation ${kind}` }, make("i", { style: `width:${100 * part}%` }));

/** @typedef {{ row: number, key: string, part: number, patch: number }} SideImage */

/**
 * An image with the latent's activation as a bar: full is its largest anywhere, on both sides.
 * @param {SideImage} image
 * @param {string} [otherwise] what is said of it without an activation
 */
function sideImage({ row, key, part, patch }, otherwise = "silent") {
  const said = part ? percent(part) : otherwise;
  return make(
    "a",
    {
      href: address({ row, latent: null }),
      onclick: opens({ row }),
      "aria-label": `${clipped(key)}: ${part ? `${said} of its largest activation` : said}`,
    },
    framed(row, patch, "lazy"),
    activationBar(part),
    make("span", { class: "number", "aria-hidden": "true" }, said),
  );
}
