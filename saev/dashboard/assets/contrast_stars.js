// The sides of a contrast with starred images. The page has no counts for these: of each of its
// images it keeps the latents that are the strongest there, and those are counted.

/** A share of fewer images says nothing. */
const FEWEST_STARS = 5;
/** How many scripts of images are read at most, of 256 images each. Bounds time and memory. */
const MOST_BLOCKS = 256;
/** How many latents the page keeps of an image. */
const STRONGEST = 16;

/** @type {Promise<ShownImage[]> | null} */
let imagesRead = null;
/** How many images can be counted, on all sides. */
let imagesCounted = 0;

/**
 * All images of the page or, of very many, those of scripts at even distances. The starred ones are
 * among them.
 */
async function imagesOfPage() {
  await load("data/names.js", "names");
  const { rows } = /** @type {ImageNames} */ (saevData.names);
  const n = Math.ceil(rows.length / about.block);
  const every = Math.max(1, Math.ceil(n / MOST_BLOCKS));
  imagesRead ??= (async () => {
    const found = [];
    for (let block = 0; block < n; block += every) {
      found.push(...(await imagesOf(block)));
      const done = `Reading images: ${count(Math.min(block + every, n))} of ${count(n)} parts.`;
      if (n > every) at("refused").textContent = done;
    }
    at("refused").textContent = "";
    return found;
  })();
  const those = await imagesRead.catch((error) => {
    imagesRead = null;
    throw error;
  });
  if (every === 1) return those;
  const there = new Set(those.map(({ row }) => row));
  const missed = [...starredImages.keys()].filter((row) => !there.has(row));
  const starred = await Promise.all(missed.map(imageOf));
  return [...those, ...starred.filter((image) => image !== null)];
}

/**
 * Both sides of a contrast with starred images, the left one first. What else is shown must not be
 * starred: the interval is that of two samples without common images.
 * @param {ContrastIndex} index
 */
async function starredSides(index) {
  const all = await imagesOfPage();
  imagesCounted = all.length;
  const [mine, rest] = [true, false].map((is) =>
    all.filter(({ row }) => starredImages.has(row) === is),
  );
  const asked = state.starred === "a" ? state.b : state.a;
  const text = index.texts.includes(asked) ? asked : "";
  const label = about.labels.indexOf(state.label);
  const ofText = text ? rest.filter(({ labels }) => labels[label] === text) : rest;
  const starred = countedSide("starred", "starred images", mine);
  const other = text
    ? countedSide("label", text, ofText)
    : countedSide("others", "all other images", rest);
  return state.starred === "a" ? [starred, other] : [other, starred];
}

/**
 * A side whose images are counted by their strongest latents.
 * @param {Side["kind"]} kind
 * @param {string} text
 * @param {ShownImage[]} images
 * @returns {Side}
 */
function countedSide(kind, text, images) {
  /** @type {Side["fires"]} */
  const fires = new Map();
  for (const { latents } of images) {
    for (const latent of latents) fires.set(latent, [(fires.get(latent)?.[0] ?? 0) + 1, 0]);
  }
  const some = drawnOf(images, SIDE_IMAGES, ({ row }) => `${row}`).map((image) => ({
    row: image.row,
    key: image.key,
    whole: image.n <= image.latents.length,
    fires: new Map(
      image.latents.map((latent, i) => [latent, [255 * partOf(image, i), image.patches[i] ?? -1]]),
    ),
  }));
  /** @param {number} latent */
  const strongest = async (latent) =>
    images
      .flatMap((image) => {
        const i = image.latents.indexOf(latent);
        const { row, key } = image;
        return i < 0 ? [] : [{ row, key, part: partOf(image, i), patch: image.patches[i] ?? -1 }];
      })
      .sort((x, y) => y.part - x.part || x.row - y.row)
      .slice(0, SIDE_IMAGES);
  return { kind, text, n: images.length, fires, drawn: some, strongest };
}

/**
 * The activation of a latent of an image, as a part of the latent's largest anywhere.
 * @param {ShownImage} image
 * @param {number} i place of the latent
 */
const partOf = ({ latents, values }, i) =>
  Math.min(1, Number(values[i]) / Number(numbers("max_activation", state.label)[latents[i]]));

/**
 * Why two sides with starred images can't be contrasted; empty if they can.
 * @param {Side[]} sides
 */
function tooFew(sides) {
  const few = sides.find(({ n }) => n < FEWEST_STARS);
  if (!few) return "";
  const needed = `${FEWEST_STARS} are needed: a share of fewer says nothing.`;
  if (few.kind !== "starred") {
    const what = few.kind === "label" ? `with the label ${few.text} ` : "";
    return `This page has ${count(few.n)} images ${what}that aren't starred, and ${needed}`;
  }
  const how = "Open an image, and star it there. The chip ★ lists the starred ones.";
  return `${count(few.n)} images of this page are starred, and ${needed} ${how}`;
}

/**
 * What a contrast with starred images counts.
 * @param {Side[]} sides
 */
function countedMeaning(sides) {
  const all = about.summary.all.n_images;
  const part =
    `Only ${count(imagesCounted)} of ${count(all)} images of the run count: those on this page, ` +
    "which some latent shows. So the shares aren't those of all images. ";
  const elsewhere = starredImages.size - (sides.find(({ kind }) => kind === "starred")?.n ?? 0);
  const others =
    elsewhere > 0 ? `${count(elsewhere)} more are starred, but not on this page. ` : "";
  return (
    `Counted: on how many images the latent is among the ${STRONGEST} strongest, as the page ` +
    `keeps no more of an image. ${imagesCounted < all ? part : ""}${others}If you starred images ` +
    "because a latent fires on them, that latent differs by your choice."
  );
}
