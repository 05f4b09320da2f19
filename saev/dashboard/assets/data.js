// The data of a run, which is loaded when it is needed.

/** How many scripts of a few latents or images stay in memory. */
const KEPT = 40;

/**
 * Those that are there, with the names of their documents. The one that was used last is the last.
 * @type {Map<string, string>}
 */
const kept = new Map();

/**
 * Loads a script of a few latents or images. Of such scripts, those used least lately are dropped.
 * So take what you need from the document at once.
 * @param {string} file below the folder of the page
 * @param {string} title of its document
 */
async function loadPart(file, title) {
  await load(file, title);
  kept.delete(file);
  kept.set(file, title);
  for (const [oldest, unused] of kept) {
    if (kept.size <= KEPT) break;
    kept.delete(oldest);
    loading.delete(oldest);
    delete saevData[unused];
  }
}

/** @type {About} */
let about;

/**
 * The columns of figures, each with an entry for each latent.
 * @type {Record<string, Numbers | (string | null)[]>}
 */
let figures;

/** Loads the figures of all latents. */
async function loadFigures() {
  await load("data/latents.js", "latents");
  const { numbers: packed, texts: encoded } = /** @type {Columns} */ (saevData.latents);
  delete saevData.latents;
  const columns = [
    ...Object.entries(packed).map(async ([column, one]) => [column, await unpacked(one)]),
    ...Object.entries(encoded).map(async ([column, one]) => [column, await unpackedTexts(one)]),
  ];
  figures = Object.fromEntries(await Promise.all(columns));
}

/**
 * The strongest images of all latents, those of one after the other, and their strongest patches.
 * @type {{ rows: Numbers, patches: Numbers } | null}
 */
let strongestOfAll = null;

/** @type {Promise<void> | null} */
let readsStrongest = null;

/** Loads the strongest images of all latents. */
function loadStrongest() {
  const reading = async () => {
    await load("data/strongest.js", "strongest");
    const packed = /** @type {Strongest} */ (saevData.strongest);
    const [rows, patches] = await Promise.all([unpacked(packed.rows), unpacked(packed.patches)]);
    delete saevData.strongest;
    strongestOfAll = { rows, patches };
  };
  readsStrongest ??= reading().catch((error) => {
    readsStrongest = null;
    throw error;
  });
  return readsStrongest;
}

/** How many of its strongest images a latent has at most, where only these are needed. */
const stripLength = () => Math.min(LABELLED_IMAGES, about.top_images);

/**
 * The strongest images of a latent, and their strongest patches.
 * @param {number} latent
 * @returns {Promise<{ rows: ArrayLike<number>, patches: ArrayLike<number> }>}
 */
async function strongestOf(latent) {
  if (!strongestOfAll) return dataOf(latent);
  const [first, last] = [latent * stripLength(), (latent + 1) * stripLength()];
  const { rows, patches } = strongestOfAll;
  return { rows: rows.subarray(first, last), patches: patches.subarray(first, last) };
}

/** The figures that say where latents are in the projection of directions, if there is one. */
const PLANE = ["direction.x", "direction.y"];

/** Loads the projection of directions; for most runs there is none. */
async function loadProjection() {
  await load("projection.js", "projection");
  const found = /** @type {Projection | null} */ (saevData.projection);
  if (!found) return;
  [found.x, found.y].forEach((values, i) => {
    figures[PLANE[i]] = new Float32Array(bytesOf(values).buffer);
  });
}

/** @param {number} row */
const imageFile = (row) =>
  `${padded(row / about.folder ** 2, 3)}/${padded(row / about.folder, 5)}/${row}.jpg`;

/** @param {number} row */
const thumbnailName = (row) => `pictures/${imageFile(row)}`;

/** @param {number} row */
const largeName = (row) => `pictures/${about.large ? "large/" : ""}${imageFile(row)}`;

/**
 * The data of one latent: its images, their values, its labels, its histogram, its neighbours.
 * @param {number} latent
 */
async function dataOf(latent) {
  const place = Number(figures.place[latent]);
  const n = Math.floor(place / about.data_latents);
  const i = place % about.data_latents;
  await loadPart(`data/blocks/${padded(n / about.folder, 3)}/${padded(n, 5)}.js`, `block ${n}`);
  const block = /** @type {PageBlock} */ (saevData[`block ${n}`]);
  const labelled = block.firing[i].map((entries) =>
    entries.map(([code, images, base]) => ({ text: block.texts[code], images, base })),
  );
  return {
    rows: block.rows[i],
    values: block.values[i],
    patches: block.patches[i],
    /** The most common labels of all images on which it fires, for each label. */
    firing: labelled,
    silent: block.silent[i],
    histogram: block.histogram[i],
    positions: block.positions[i],
    neighbours: block.neighbours[i],
    cosines: block.cosines[i],
    partners: block.partners?.[i] ?? [],
    /** @param {number} row */
    key: (row) => String(block.images[row][0]),
    /** @param {number} row */
    labels: (row) =>
      block.images[row].slice(1).map((code) => (code === null ? null : block.texts[Number(code)])),
  };
}

/** @typedef {Awaited<ReturnType<typeof dataOf>>} LatentData */

/**
 * A latent's activation on every patch of its images, 0 to 255, one image after the other.
 * @param {number} latent
 */
async function heatOf(latent) {
  if (!about.grid) return null;
  const place = Number(figures.place[latent]);
  const n = Math.floor(place / about.heat_latents);
  await loadPart(`data/heat/${padded(n / about.folder, 3)}/${padded(n, 5)}.js`, `heat ${n}`);
  const packed = /** @type {Heat} */ (saevData[`heat ${n}`])[place % about.heat_latents];
  const pairs = binaryOf(packed);
  const heat = new Uint8Array(
    about.rows[about.rows.length - 1].last * about.grid[0] * about.grid[1],
  );
  // Pairs of (zeros before, value). (255, 0) stands for 255 zeros.
  let cell = 0;
  for (let i = 0; i < pairs.length; i += 2) {
    cell += pairs.charCodeAt(i);
    const value = pairs.charCodeAt(i + 1);
    if (value) heat[cell++] = value;
  }
  return heat;
}
