// Data of a run: plain scripts with one assignment each, loaded when they are needed.

const saevData = Object.create(null);
const loading = new Map();
let about, figures;

function load(path) {
  if (!loading.has(path)) {
    loading.set(path, new Promise((done, fail) => {
      const broken = () => { loading.delete(path); fail(new Error(`${path} is missing beside this page`)); };
      document.head.append(make("script", { src: path, onload: done, onerror: broken }));
    }));
  }
  return loading.get(path);
}

const padded = (n, width) => String(n).padStart(width, "0");
const pictureName = (row) =>
  `pictures/${padded(Math.floor(row / about.folder ** 2), 3)}/${padded(Math.floor(row / about.folder), 5)}/${row}.jpg`;

// What is kept of one latent: its top images, their values, its histogram, its neighbours.
async function dataOf(latent) {
  const n = Math.floor(latent / about.block), i = latent % about.block;
  await load(`data/blocks/${padded(n, 4)}.js`);
  const block = saevData[`block ${n}`];
  return {
    rows: block.rows[i], values: block.values[i], patches: block.patches[i], histogram: block.histogram[i],
    neighbours: block.neighbours[i], cosines: block.cosines[i], image: (row) => block.images[row],
  };
}

// Its activation on every patch of its top images, 0 to 255, one image after the other.
async function heatOf(latent) {
  if (!about.grid) return null;
  const n = Math.floor(latent / about.heat_latents);
  await load(`data/heat/${padded(Math.floor(n / about.folder), 3)}/${padded(n, 5)}.js`);
  const pairs = atob(saevData[`heat ${n}`][latent % about.heat_latents]);
  const heat = new Uint8Array(about.top_images * about.grid[0] * about.grid[1]);
  // Pairs of (zeros before, value); (255, 0) is 255 zeros.
  for (let i = 0, at = 0; i < pairs.length; i += 2) {
    at += pairs.charCodeAt(i);
    if (pairs.charCodeAt(i + 1)) heat[at++] = pairs.charCodeAt(i + 1);
  }
  return heat;
}

const figure = (name, latent) => figures[name][latent];
const topLabel = (latent, label) => (label ? figure(`top_label.${label}`, latent) : null);
const purity = (latent, label) => (label ? figure(`label_purity_top.${label}`, latent) : null);
