// The data of a run: plain scripts with one assignment each. They are loaded when needed.

/**
 * The documents by name. The scripts fill it.
 * @type {Record<string, unknown>}
 */
const saevData = Object.create(null);

/** @type {Map<string, Promise<void>>} */
const loading = new Map();

/** @type {About} */
let about;

/** @type {Figures} */
let figures;

/** @param {string} file below the folder of the page */
function load(file) {
  let loaded = loading.get(file);
  if (!loaded) {
    loaded = new Promise((done, refuse) => {
      const broken = () => {
        loading.delete(file);
        refuse(new Error(`${file} is missing next to this page`));
      };
      document.head.append(make("script", { src: file, onload: () => done(), onerror: broken }));
    });
    loading.set(file, loaded);
  }
  return loaded;
}

/**
 * @param {number} n
 * @param {number} width
 */
const padded = (n, width) => String(Math.floor(n)).padStart(width, "0");

/** @param {number} row */
const thumbnailName = (row) =>
  `pictures/${padded(row / about.folder ** 2, 3)}/${padded(row / about.folder, 5)}/${row}.jpg`;

/**
 * The data of one latent: its top images, their values, its histogram, its neighbours.
 * @param {number} latent
 */
async function dataOf(latent) {
  const n = Math.floor(latent / about.block);
  const i = latent % about.block;
  await load(`data/blocks/${padded(n, 4)}.js`);
  const block = /** @type {PageBlock} */ (saevData[`block ${n}`]);
  return {
    rows: block.rows[i],
    values: block.values[i],
    patches: block.patches[i],
    histogram: block.histogram[i],
    neighbours: block.neighbours[i],
    cosines: block.cosines[i],
    /** @param {number} row */
    key: (row) => block.images[row][0],
    /** @param {number} row */
    labels: (row) => block.images[row].slice(1),
  };
}

/** @typedef {Awaited<ReturnType<typeof dataOf>>} LatentData */

/**
 * A latent's activation on every patch of its top images, 0 to 255, one image after the other.
 * @param {number} latent
 */
async function heatOf(latent) {
  if (!about.grid) return null;
  const n = Math.floor(latent / about.heat_latents);
  await load(`data/heat/${padded(n / about.folder, 3)}/${padded(n, 5)}.js`);
  const packed = /** @type {Heat} */ (saevData[`heat ${n}`])[latent % about.heat_latents];
  const pairs = atob(packed);
  const heat = new Uint8Array(about.top_images * about.grid[0] * about.grid[1]);
  // Pairs of (zeros before, value). (255, 0) stands for 255 zeros.
  let place = 0;
  for (let i = 0; i < pairs.length; i += 2) {
    place += pairs.charCodeAt(i);
    const value = pairs.charCodeAt(i + 1);
    if (value) heat[place++] = value;
  }
  return heat;
}
