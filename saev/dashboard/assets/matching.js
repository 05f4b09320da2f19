// Matches the latents of two runs by the cosines of their decoder directions.

/** Latents of the other run among which a latent looks for its partner. */
const CANDIDATES = 16;

/** From this cosine on, a latent counts as found again. */
const FOUND_AGAIN = 0.7;

/** Products of components that are made between two pauses, so that the page stays usable. */
const AT_ONCE = 2e8;

/**
 * Directions as rows of length 1.
 * @param {string[]} packed of `Directions`
 */
function unitRows(packed) {
  const d = binaryOf(packed[0]).length;
  const rows = new Float32Array(packed.length * d);
  packed.forEach((text, row) => {
    const signed = Int8Array.from(binaryOf(text), (byte) => byte.charCodeAt(0));
    const norm = Math.hypot(...signed) || 1;
    for (let i = 0; i < d; i++) rows[row * d + i] = signed[i] / norm;
  });
  return { rows, d, n: packed.length };
}

/** @typedef {ReturnType<typeof unitRows>} Rows */
/** @typedef {{ latent: number, other: number, cosine: number }} Pair */

/**
 * The cosine of two rows.
 * @param {Float32Array} a
 * @param {number} from where the row starts
 * @param {Float32Array} b
 * @param {number} to where its row starts
 * @param {number} d
 */
function product(a, from, b, to, d) {
  // Four sums at once take half the time of one.
  let [s, t, u, v] = [0, 0, 0, 0];
  let i = 0;
  for (; i + 3 < d; i += 4) {
    s += a[from + i] * b[to + i];
    t += a[from + i + 1] * b[to + i + 1];
    u += a[from + i + 2] * b[to + i + 2];
    v += a[from + i + 3] * b[to + i + 3];
  }
  for (; i < d; i++) s += a[from + i] * b[to + i];
  return s + t + u + v;
}

/**
 * Compares each latent of one run that fires with each of another that fires.
 * @param {Rows} ours
 * @param {boolean[]} fire which of ours do
 * @param {Rows} theirs
 * @param {boolean[]} firing which of theirs do
 * @param {(done: number) => void} report is told how much is done
 * @returns {Promise<{ forth: Pair[][], back: Pair[] }>} for each of ours the nearest of theirs, the
 *   nearest first; for each of theirs the nearest of ours
 */
async function nearestOthers(ours, fire, theirs, firing, report) {
  const { d } = ours;
  const each = Math.max(1, Math.floor(AT_ONCE / (theirs.n * d)));
  /** @type {Pair[][]} */
  const forth = [];
  /** @type {(Pair | null)[]} */
  const back = Array(theirs.n).fill(null);
  for (let latent = 0; latent < ours.n; latent++) {
    if (latent % each === 0) {
      report(latent / ours.n);
      await new Promise((done) => setTimeout(done));
    }
    if (!fire[latent]) continue;
    /** @type {Pair[]} */
    let best = [];
    for (let other = 0; other < theirs.n; other++) {
      if (!firing[other]) continue;
      const cosine = product(ours.rows, latent * d, theirs.rows, other * d, d);
      const there = back[other];
      if (!there || cosine > there.cosine) back[other] = { latent, other, cosine };
      if (best.length === CANDIDATES && cosine <= best[CANDIDATES - 1].cosine) continue;
      best.push({ latent, other, cosine });
      best.sort((x, y) => y.cosine - x.cosine || x.other - y.other);
      best = best.slice(0, CANDIDATES);
    }
    forth.push(best);
  }
  return { forth, back: back.filter((pair) => pair !== null) };
}

/**
 * Matches latents one to one: the largest cosine first.
 * @param {Pair[][]} candidates of each latent
 */
function matched(candidates) {
  const ordered = candidates.flat().sort((x, y) => y.cosine - x.cosine || x.latent - y.latent);
  const [taken, partners] = [new Set(), new Set()];
  return ordered.filter(({ latent, other }) => {
    if (taken.has(latent) || partners.has(other)) return false;
    taken.add(latent);
    partners.add(other);
    return true;
  });
}

/**
 * The cosine of the nearest of n random directions with d components, about.
 * @param {number} n
 * @param {number} d
 */
const nearestByChance = (n, d) => Math.min(1, Math.sqrt((2 * Math.log(n)) / d));
