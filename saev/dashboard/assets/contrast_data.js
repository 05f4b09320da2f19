// What a contrast rests on: the data of labels, the difference of two shares, and the order.

/** Of a 95 % interval: the 97.5 % quantile of the normal distribution. */
const Z = 1.959963984540054;

/**
 * The 95 % interval of a share (Wilson 1927).
 * @param {number} hits
 * @param {number} n
 */
function wilson(hits, n) {
  const p = hits / n;
  const square = Z ** 2 / n;
  const half = Z * Math.sqrt((p * (1 - p)) / n + square / (4 * n));
  return [(p + square / 2 - half) / (1 + square), (p + square / 2 + half) / (1 + square)];
}

/**
 * The difference of two shares, hits / n − others / m, with its 95 % interval (Newcombe 1998,
 * method 10). `sure` is how far the interval lies from 0: 0 if it holds 0.
 * @param {number} hits
 * @param {number} n
 * @param {number} others
 * @param {number} m
 */
function difference(hits, n, others, m) {
  const [p, q] = [hits / n, others / m];
  const [[pLow, pHigh], [qLow, qHigh]] = [wilson(hits, n), wilson(others, m)];
  const low = p - q - Math.hypot(p - pLow, qHigh - q);
  const high = p - q + Math.hypot(pHigh - p, q - qLow);
  return { value: p - q, low, high, sure: Math.max(0, low, -high) };
}

/**
 * Integers that Python has packed: seven bits in each byte, the lowest first.
 * @param {string} packed
 */
function integers(packed) {
  const bytes = binaryOf(packed);
  const found = [];
  let value = 0;
  let scale = 1;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes.charCodeAt(i);
    value += (byte & 127) * scale;
    scale *= 128;
    if (byte >= 128) continue;
    found.push(value);
    value = 0;
    scale = 1;
  }
  return found;
}

/**
 * What fires, by latent: the figures that are packed behind each gap between latents.
 * @param {string} packed
 * @param {number} width how many figures each latent has
 */
function unpackedLatents(packed, width) {
  const all = integers(packed);
  /** @type {Map<number, number[]>} */
  const found = new Map();
  let latent = -1;
  for (let i = 0; i < all.length; i += width + 1) {
    latent += all[i] + 1;
    found.set(latent, all.slice(i + 1, i + 1 + width));
  }
  return found;
}

/**
 * The texts of a label that can be contrasted.
 * @param {string} label
 */
async function contrastIndex(label) {
  if (!label) return { texts: [], images: [], n_few: 0, n_beyond: 0, least: FEWEST_STARS };
  const n = about.labels.indexOf(label);
  await load(`data/contrast/${padded(n, 2)}/labels.js`, `contrast ${n}`);
  return /** @type {ContrastIndex} */ (saevData[`contrast ${n}`]);
}

/**
 * One side: what fires on the images that have a text as their label.
 * @param {string} label
 * @param {ContrastIndex} index
 * @param {string} text
 * @returns {Promise<Side>}
 */
async function contrastSide(label, index, text) {
  const n = about.labels.indexOf(label);
  const place = index.texts.indexOf(text);
  const script = Math.floor(place / about.contrast_labels);
  const folder = padded(script / about.folder, 3);
  const file = `data/contrast/${padded(n, 2)}/${folder}/${padded(script, 5)}.js`;
  await loadPart(file, `contrast ${n} ${script}`);
  const block = /** @type {ContrastBlock} */ (saevData[`contrast ${n} ${script}`]);
  const i = place % about.contrast_labels;
  return {
    kind: "label",
    text,
    n: index.images[place],
    fires: unpackedLatents(block.fires[i], 2),
    drawn: block.drawn[i].map(({ row, key, fires }) => ({
      row,
      key,
      whole: true,
      fires: unpackedLatents(fires, 2),
    })),
    strongest: async (latent) => {
      const data = await dataOf(latent);
      return [...firingImages(latent, data)]
        .filter(([row]) => data.labels(row)[n] === text)
        .slice(0, SIDE_IMAGES)
        .map(([row, image]) => ({ row, key: data.key(row), ...image }));
    },
  };
}

/**
 * Both sides of a contrast of labels. Where there is no second label, its side is empty.
 * @param {ContrastIndex} index
 */
const labelSides = (index) =>
  Promise.all(
    contrastTexts(index).map((text) =>
      text ? contrastSide(state.label, index, text) : countedSide("label", "", []),
    ),
  );

/**
 * @typedef {object} Side
 * @property {"label" | "starred" | "others"} kind
 * @property {string} text what the page calls it; for labels, the label
 * @property {number} n how many images it has
 * @property {Map<number, number[]>} fires by latent, on how many images it counts, and its mean
 *     there; the mean is 0 where it isn't known
 * @property {{ row: number, key: string, whole: boolean, fires: Map<number, number[]> }[]} drawn
 *     some of its images: by latent, its activation there, up to 255, and the patch. If `whole`,
 *     other latents are silent, or else they may fire weakly
 * @property {(latent: number) => Promise<SideImage[]>} strongest some of its images, those on which
 *     a latent is strongest
 */
/**
 * @typedef {object} Contrasted
 * @property {number} latent
 * @property {number[]} hits on how many images of each side it fires
 * @property {number[]} means its mean activation on each, silent ones included: 1 is its largest
 * @property {ReturnType<typeof difference>} shares the difference of its shares
 * @property {number} lead by how much it is larger on the left, by what the reader chose
 */

/**
 * The two texts that the state names. Those of most images stand for what it doesn't name.
 * @param {ContrastIndex} index
 */
function contrastTexts({ texts: all, images }) {
  const places = all.map((_, i) => i).sort((i, j) => images[j] - images[i] || i - j);
  const byImages = places.map((i) => all[i]);
  const a = all.includes(state.a) ? state.a : byImages.find((text) => text !== state.b);
  const b = all.includes(state.b) && state.b !== a ? state.b : byImages.find((text) => text !== a);
  return [a ?? "", b ?? ""];
}

/**
 * Sorts the larger of two figures first. Those that only rounding tells apart are equal.
 * @param {number} x
 * @param {number} y
 */
const larger = (x, y) => (Math.abs(x - y) < 1e-9 ? 0 : y - x);

/** Whether the order is by means. Those of starred images aren't known. */
const byMean = () => state.by === "mean" && !state.starred;

/**
 * The latents that pass the filters and fire on one side at least, in order. By shares, first come
 * those whose interval lies farthest from 0, then, if it holds 0, those with the largest
 * difference. By means, those with the largest difference.
 * @param {Side[]} sides
 * @returns {Contrasted[]}
 */
function contrasted(sides) {
  const [a, b] = sides;
  const found = shown.flatMap((latent) => {
    const [left, right] = sides.map(({ fires }) => fires.get(latent) ?? [0, 0]);
    if (!left[0] && !right[0]) return [];
    const [hits, means] = [
      [left[0], right[0]],
      [left[1] / 1000, right[1] / 1000],
    ];
    const shares = difference(hits[0], a.n, hits[1], b.n);
    const lead = byMean() ? means[0] - means[1] : shares.value;
    return [{ latent, hits, means, shares, lead }];
  });
  return found.sort(
    (x, y) =>
      (byMean() ? 0 : larger(x.shares.sure, y.shares.sure)) ||
      larger(Math.abs(x.lead), Math.abs(y.lead)) ||
      x.latent - y.latent,
  );
}
