// The matched latents of two runs: found in the browser or, of large runs, by a job.

/** Above this many latents of a run, a browser would take minutes. */
const MOST_MATCHED = 8192;

/**
 * @typedef {object} Match
 * @property {number[]} n how many latents of each run fire
 * @property {number} chance the cosine that partners exceed
 * @property {Pair[]} pairs the matched latents, the largest cosine first
 * @property {Pair[]} alone those of the first without a partner, with the nearest of the second
 * @property {Pair[]} aloneThere those of the second
 */

/**
 * What a job has matched.
 * @param {GalleryRun[]} runs
 * @returns {Promise<Match>}
 */
async function readMatch(runs) {
  const most = Math.max(...runs.map(({ summary }) => summary.n_latents));
  const command =
    `One has ${count(most)} latents, and a browser matches ${count(MOST_MATCHED)} at most. ` +
    "\u201csnakemake match_runs\u201d matches larger ones";
  try {
    await load("matched/pairs.js", "matched");
  } catch (error) {
    if (/** @type {Error} */ (error).cause === "damaged") throw error;
    throw new Error(`${command}; it hasn\u2019t run yet.`);
  }
  const { pairs, n_left_out: beyond } = /** @type {MatchedRuns} */ (saevData.matched);
  const links = runs.map(({ link }) => link);
  const found = pairs.find(({ first, second }) => links.includes(first) && links.includes(second));
  if (!found) {
    const cap = beyond
      ? ` It left out ${count(beyond)}, as it matches ${count(pairs.length)}.`
      : "";
    throw new Error(`${command}. It hasn\u2019t matched these two.${cap}`);
  }
  await load(found.file, found.file);
  const match = /** @type {RunMatch} */ (saevData[found.file]);
  const turned = found.first !== links[0];
  const [partners, ...alone] = [match.pairs, match.alone, match.alone_there].map((packed) => {
    const latents = new Int32Array(bytesOf(packed.latent).buffer);
    const others = new Int32Array(bytesOf(packed.other).buffer);
    const cosines = new Float32Array(bytesOf(packed.cosine).buffer);
    const [left, right] = turned ? [others, latents] : [latents, others];
    return Array.from(left, (latent, i) => ({ latent, other: right[i], cosine: cosines[i] }));
  });
  const sides = match.n.map((n, side) => ({ n, alone: alone[side] }));
  if (turned) sides.reverse();
  const [ours, theirs] = sides;
  return {
    n: [ours.n, theirs.n],
    chance: match.chance,
    pairs: partners.reverse(),
    alone: ours.alone,
    aloneThere: theirs.alone,
  };
}

/**
 * Matches two runs in the browser.
 * @param {Matchable} a
 * @param {Matchable} b
 * @param {(done: number) => void} report is told how much is done
 * @returns {Promise<Match>}
 */
async function matchHere(a, b, report) {
  const [ours, theirs] = [await directionsOf(a.run), await directionsOf(b.run)];
  const { forth, back } = await nearestOthers(ours, a.fires, theirs, b.fires, report);
  const chance = nearestByChance(Math.max(ours.n, theirs.n), ours.d);
  const pairs = matched(forth).filter(({ cosine }) => cosine > chance);
  const [partners, others] = [
    new Set(pairs.map(({ latent }) => latent)),
    new Set(pairs.map(({ other }) => other)),
  ];
  const rising = (/** @type {Pair} */ x, /** @type {Pair} */ y) => x.cosine - y.cosine;
  const alone = forth.flatMap(([nearest]) =>
    nearest && !partners.has(nearest.latent) ? [nearest] : [],
  );
  const aloneThere = back.filter(({ other }) => !others.has(other)).sort(rising);
  const n = [forth.length, back.length];
  return { n, chance, pairs, alone: alone.sort(rising), aloneThere };
}

/** Scripts of two runs have the same names, so they are read one after the other. */
let reading = Promise.resolve();

/**
 * Reads a script of a run.
 * @param {GalleryRun} run
 * @param {string} file below the folder of its page
 * @param {string} title of its document
 * @returns {Promise<unknown>}
 */
function readOf(run, file, title) {
  const place = run.pictures + file;
  const read = reading.then(async () => {
    await load(place, title).catch((/** @type {Error} */ { message }) => {
      throw new Error(`${message} Its page may be by an older version: make it again.`);
    });
    const found = saevData[title];
    delete saevData[title];
    loading.delete(place);
    return found;
  });
  reading = read.then(
    () => {},
    () => {},
  );
  return read;
}

/**
 * The decoder directions of a run.
 * @param {GalleryRun} run
 */
async function directionsOf(run) {
  const packed = [];
  for (let i = 0; i * run.block < run.summary.n_latents; i++) {
    const file = `data/directions/${padded(i, 4)}.js`;
    packed.push(.../** @type {Directions} */ (await readOf(run, file, `directions ${i}`)));
  }
  return unitRows(packed);
}
