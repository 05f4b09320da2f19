// The images that the reader has starred. The browser keeps them for these images, whichever
// dictionary shows them.

/** The names of the starred images, by their rows. @type {Map<number, string>} */
let starredImages = new Map();

const starShelf = () => `saev starred images: ${about.run.images}`;

/** The starred images as they are kept in the browser and in a file. */
const starsAsData = () => ({
  of: about.run.images,
  starred: [...starredImages].sort(([a], [b]) => a - b).map(([row, key]) => ({ row, key })),
});

/**
 * The starred images in a file or in the browser. None if it has those of other images; null if
 * they can't be read.
 * @param {any} content
 */
function parsedStars(content) {
  /** @type {Map<number, string>} */
  const found = new Map();
  if (content === undefined || content?.of !== about.run.images) return found;
  if (!Array.isArray(content.starred)) return null;
  for (const { row, key } of content.starred) {
    if (!Number.isInteger(row) || row < 0) return null;
    found.set(row, String(key ?? row));
  }
  return found;
}

/** Keeps the starred images in the browser, and shows the list anew, if it can be seen. */
function keepStars() {
  keepOn(starShelf(), JSON.stringify(starsAsData()));
  if (!at("list").hidden) render();
}

/**
 * A button with a star.
 * @param {string} spoken
 * @param {() => boolean} isOn
 * @param {() => void} turn
 */
function starSwitch(spoken, isOn, turn) {
  const button = make("button", { type: "button", class: "icon star", "aria-label": spoken });
  const look = () => {
    button.textContent = isOn() ? "★" : "☆";
    button.setAttribute("aria-pressed", String(isOn()));
  };
  button.addEventListener("click", () => {
    turn();
    look();
  });
  look();
  return button;
}

/**
 * A button that stars a latent.
 * @param {number} latent
 */
const starButton = (latent) =>
  starSwitch(
    "Star (s)",
    () => noteOf(latent).star,
    () => annotate(latent, { star: !noteOf(latent).star }),
  );

/**
 * A button that stars an image.
 * @param {number} row
 * @param {string} key
 */
const imageStar = (row, key) =>
  starSwitch(
    "Star this image (s)",
    () => starredImages.has(row),
    () => {
      if (!starredImages.delete(row)) starredImages.set(row, key);
      keepStars();
    },
  );
