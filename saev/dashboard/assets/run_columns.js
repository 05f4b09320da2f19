// The columns of the table of all runs.

/**
 * @typedef {object} RunColumn
 * @property {string} title
 * @property {string} [meaning]
 * @property {(run: GalleryRun) => number | string | null} value what rows are sorted by
 * @property {(run: GalleryRun) => Child} shown
 * @property {string[]} [beside] titles of what stands in small print in cells of its own
 * @property {(run: GalleryRun) => string[]} [others] and what stands there
 * @property {(run: GalleryRun) => string | null} [said] what the notes below the table say of it
 */

/** @typedef {Record<string, RunCost>} Costs by the link of a run */

const STABILITY = "Stability";
const NO_COSTS = "costs.js, beside this page, is missing or damaged. The next gallery writes it";

/**
 * A text, after a mark if a baseline is as good as what it says.
 * @param {string} text
 * @param {boolean} unbeaten
 */
const marked = (text, unbeaten) =>
  make("span", {}, unbeaten ? make("span", { class: "unbeaten", title: LOSES }, "⚠ ") : null, text);

/** @param {GalleryRun} run */
function judged({ summary: { splits } }) {
  const split = ["held_out", "other", "train"].find((one) => splits[one]);
  return split ? { ...splits[split], split } : null;
}

/**
 * The columns that say what a run is. Images and analysis have one only where they differ.
 * @param {GalleryRun[]} runs
 * @returns {RunColumn[]}
 */
function lineageColumns(runs) {
  /**
   * @param {string} title
   * @param {(run: Lineage) => string} of
   * @returns {RunColumn}
   */
  const textual = (title, of) => ({
    title,
    value: ({ run }) => of(run),
    shown: ({ run }) => inOneLine(of(run)),
  });
  /** @param {Lineage} run */
  const images = ({ images: seen, trained_on: trained }) =>
    seen === trained ? seen : `${seen}, trained on ${trained}`;
  /** @param {(run: Lineage) => string} of */
  const differ = (of) => new Set(runs.map(({ run }) => of(run))).size > 1;
  /** @param {Lineage} run */
  const analysis = (run) => run.analysis;
  return [
    ...(differ(images) ? [textual("images", images)] : []),
    textual("tower", (run) => run.vit),
    {
      title: "vectors",
      meaning: "the kind of token, and its layer",
      value: (run) => vectors(run),
      shown: (run) => vectors(run),
    },
    ...(differ(analysis) ? [textual("analysis", analysis)] : []),
    {
      title: "latents",
      value: ({ summary }) => summary.n_latents,
      shown: ({ summary }) => count(summary.n_latents),
    },
  ];
}

/** @param {GalleryRun} run */
function vectors({ settings: { tokens, layer } }) {
  return tokens === "pooled" || absent(layer) ? tokens : `${tokens}, layer ${layer}`;
}

/** @type {RunColumn[]} */
const RECONSTRUCTION = [
  {
    title: "L0",
    meaning: "mean number of active latents per vector",
    value: (run) => judged(run)?.l0 ?? null,
    shown: (run) => number(judged(run)?.l0),
  },
  {
    title: "error",
    meaning:
      "nmse on held-out images; where none was held out, it says on which. Beside it, that of a " +
      "principal component analysis (PCA) with as many components as there are active latents. " +
      "Compare only runs with the same tower, vectors and normalisation",
    value: (run) => judged(run)?.nmse ?? null,
    shown: (run) => {
      const { nmse, pca_nmse: pca, split } = judged(run) ?? {};
      const mark = !split || split === "held_out" ? null : `${splitTitles[split]} `;
      return make(
        "span",
        {},
        mark && make("small", {}, mark),
        marked(share(nmse), !absent(nmse) && !absent(pca) && pca <= nmse),
      );
    },
    beside: ["PCA"],
    others: (run) => [share(judged(run)?.pca_nmse)],
    said: (run) => (absent(judged(run)?.nmse) ? "error: not defined on these vectors" : null),
  },
];

/**
 * Purity by one label.
 * @param {string} label
 * @param {GalleryRun[]} runs
 * @returns {RunColumn}
 */
function purityColumn(label, runs) {
  const byLink = new Map(runs.map((run) => [run.link, run]));
  /** @param {GalleryRun | undefined} run */
  const purity = (run) => run?.summary.all.label_purity_top[label];
  const untrained = (/** @type {GalleryRun} */ run) =>
    run.untrained ? purity(byLink.get(run.untrained))?.mean : null;
  return {
    title: "purity",
    meaning:
      `mean purity of top images by the label ${label}. Beside it, with the labels shuffled over ` +
      "the images, and of the same run with an untrained tower. ⚠: one of these is as good",
    value: (run) => purity(run)?.mean ?? null,
    shown: (run) => {
      const { mean, shuffled_mean: shuffled } = purity(run) ?? {};
      const others = [shuffled, run.untrained === run.link ? null : untrained(run)];
      const reached = others.some((other) => !absent(mean) && !absent(other) && other >= mean);
      return marked(share(mean), reached);
    },
    beside: ["shuffled", "untrained tower"],
    others: (run) => [
      share(purity(run)?.shuffled_mean),
      run.untrained === run.link ? "itself" : share(untrained(run)),
    ],
    said: (run) => {
      if (!purity(run))
        return label
          ? `purity: the analysis has no label ${label}`
          : "purity: the analysis has no labels";
      if (absent(purity(run)?.mean)) return "purity: no latent fires on 16 images or more";
      return run.untrained
        ? null
        : "untrained tower: no such run is here. baselines: [untrained_tower] in a run of the " +
            "settings makes it";
    },
  };
}

/**
 * A figure of evaluations.
 * @param {string} title
 * @param {string} meaning
 * @param {GalleryRun[]} runs
 * @returns {RunColumn}
 */
function measuredColumn(title, meaning, runs) {
  /** @param {GalleryRun} run */
  const of = ({ measured }) => measured?.[title];
  const beside = [...new Set(runs.flatMap((run) => Object.keys(of(run)?.baselines ?? {})))].sort();
  const shown = title === STABILITY ? "stability" : title;
  return {
    title: shown,
    meaning: `${meaning ? `${meaning}. ` : ""}Beside it, its baselines. ⚠: one of them is as good`,
    value: (run) => of(run)?.value ?? null,
    shown: (run) => {
      const found = of(run);
      if (!found || absent(found.value)) return missing;
      return marked(number(found.value), found.unbeaten);
    },
    beside,
    others: (run) => beside.map((one) => number(of(run)?.baselines[one])),
    said: (run) => {
      const found = of(run);
      if (!found) return `${shown}: no evaluation on the run's page has it`;
      return found.note ? `${shown}: ${found.note}` : null;
    },
  };
}

/** @type {RunColumn} */
const DEAD = {
  title: "dead",
  meaning: "share of latents that fire on no image",
  value: ({ summary }) => summary.all.n_dead / summary.n_latents,
  shown: ({ summary }) => percent(summary.all.n_dead / summary.n_latents),
};

/**
 * What runs took.
 * @param {Costs | null | undefined} costs null if they can't be read, undefined until they are
 * @returns {RunColumn[]}
 */
function costColumns(costs) {
  /**
   * @param {string} title
   * @param {"minutes" | "gigabytes"} which
   * @param {string} meaning
   * @param {(x: Amount) => string} text
   * @returns {RunColumn}
   */
  const column = (title, which, meaning, text) => ({
    title,
    meaning: `${meaning}, as Snakemake measured it. Beside it, the same of the analysis`,
    value: ({ link }) => costs?.[link]?.training[which] ?? null,
    shown: ({ link }) => text(costs?.[link]?.training[which]),
    beside: ["analysis"],
    others: ({ link }) => [text(costs?.[link]?.analysis[which])],
  });
  /** @param {GalleryRun} run */
  const said = ({ link }) => {
    if (costs === undefined) return null;
    const found = costs?.[link];
    if (!found) return `minutes and GB: ${costs ? "costs.js is older than the run" : NO_COSTS}`;
    const whys = Object.entries(found).map(([stage, { why }]) => why && `of the ${stage}: ${why}`);
    const known = whys.filter((why) => why).join("; ");
    return known ? `minutes and GB ${known}` : null;
  };
  return [
    { ...column("minutes", "minutes", "time that the training took", share), said },
    column("GB", "gigabytes", "most memory that the training held, in 10⁹ bytes", share),
  ];
}
