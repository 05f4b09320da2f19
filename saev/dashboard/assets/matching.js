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
  const d = atob(packed[0]).length;
  const rows = new Float32Array(packed.length * d);
  packed.forEach((text, row) => {
    const signed = Int8Array.from(atob(text), (byte) => byte.charCodeAt(0));
    const norm = Math.hypot(...signed) || 1;
    for (let i = 0; i < d; i++) rows[row * d + i] = signed[i] / norm;
  });
  return { rows, d, n: packed.length };
}

/** @typedef {ReturnType<typeof unitRows>} Rows */
/** @typedef {{ latent: number, other: number, cosine: number }} Pair */

/**
 * For each latent, the nearest of the others, the nearest first.
 * @param {Rows} ours
 * @param {Rows} theirs
 * @param {boolean[]} allowed which of the others count
 * @param {(done: number) => void} report is told how much is done
 * @returns {Promise<Pair[][]>}
 */
async function nearestOthers(ours, theirs, allowed, report) {
  const { d } = ours;
  const each = Math.max(1, Math.floor(AT_ONCE / (theirs.n * d)));
  /** @type {Pair[][]} */
  const found = [];
  for (let latent = 0; latent < ours.n; latent++) {
    if (latent % each === 0) {
      report(latent / ours.n);
      await new Promise((done) => setTimeout(done));
    }
    /** @type {Pair[]} */
    let best = [];
    let least = -Infinity;
    for (let other = 0; other < theirs.n; other++) {
      if (!allowed[other]) continue;
      let cosine = 0;
      const [from, to] = [latent * d, other * d];
      for (let i = 0; i < d; i++) cosine += ours.rows[from + i] * theirs.rows[to + i];
      if (best.length === CANDIDATES && cosine <= least) continue;
      best.push({ latent, other, cosine });
      best.sort((x, y) => y.cosine - x.cosine || x.other - y.other);
      best = best.slice(0, CANDIDATES);
      least = best[best.length - 1].cosine;
    }
    found.push(best);
  }
  return found;
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
