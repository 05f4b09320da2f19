// What both pages say about a whole run.

/** @type {Record<string, string>} */
const splitTitles = { train: "trained on", held_out: "held out", other: "other images" };

/**
 * The settings that describe a dictionary in short, as texts.
 * @param {Record<string, number | null>} telling
 */
function told(telling) {
  return Object.entries(telling).map(([key, value]) => `${key} = ${value}`);
}

/**
 * A reason to distrust a dictionary.
 * @param {string} text
 */
function doubtful(text) {
  return make("p", { class: "doubt" }, `⚠ ${text}`);
}

/**
 * The figures of a run: for each set of images its size, its errors and the baseline.
 * @param {Summary} summary
 */
function figuresTable(summary) {
  /** @type {Child[][]} */
  const rows = [];
  for (const [split, title] of Object.entries(splitTitles)) {
    const f = summary.splits[split];
    if (!f) continue;
    const errors = [f.nmse, f.pca_nmse, f.nmse_raw].map((x) => share(x, 3));
    rows.push([title, ...errors, number(f.l0), count(f.n_images), count(f.n_vectors)]);
  }
  const error =
    "nmse: squared error over variance, as the dictionary sees it; 0 is a perfect copy, 1 is no " +
    "better than the mean. Over all vectors of these images; training looks at a sample of the " +
    "held-out ones";
  const fitted = splitTitles[Object.values(summary.splits).find((f) => f)?.pca_fit_on ?? "train"];
  const pca =
    "the baseline: nmse of a principal component analysis with as many " +
    `components as there are active latents, fitted on: ${fitted}`;
  return table(
    "Reconstruction",
    [
      [""],
      ["error", error],
      ["PCA", pca],
      ["raw", "nmse on raw activations"],
      ["L0", "mean number of active latents per vector"],
      ["images"],
      ["vectors"],
    ],
    rows,
  );
}

/**
 * Purity, and the purity that shuffled labels give; null without labels.
 * @param {Summary} summary
 */
function purityTable(summary) {
  const labels = Object.entries(summary.all.label_purity_top);
  if (!labels.length) return null;
  const rows = labels.map(([label, p]) => {
    const means = [share(p.mean), share(p.shuffled_mean)];
    const shares = [percent(p.share_75), percent(p.shuffled_share_75)];
    return [label, ...means, ...shares, count(p.n_latents)];
  });
  return table(
    "Purity of top images",
    [
      ["label"],
      ["mean", "mean share of the most common label among a latent's top images"],
      ["shuffled", "the same with the labels shuffled over the images: the baseline"],
      ["≥ 0.75", "share of latents with a purity of at least 0.75"],
      ["shuffled"],
      ["latents", "latents that fire on 16 images or more"],
    ],
    rows,
  );
}

/** @param {Summary} summary */
function latentCounts(summary) {
  const { n_dead, n_dense, n_images, n_positional } = summary.all;
  return make(
    "dl",
    { class: "counts" },
    entry("latents", count(summary.n_latents), null),
    entry("dead", count(n_dead), "latents that fire on no image"),
    entry("dense", count(n_dense), "latents that fire on more than 10 % of the vectors"),
    entry("positional", count(n_positional), "latents that fire in few places of the image"),
    entry("images", count(n_images), null),
    entry("skipped", count(summary.n_skipped), "images that couldn't be read"),
  );
}

/**
 * "clip-b16-1a2b3c4d", with the digest smaller, because it matters less than the name.
 * @param {string} directory
 */
function named(directory) {
  const end = directory.lastIndexOf("-");
  if (end < 0) return make("b", {}, directory);
  const digest = make("small", {}, directory.slice(end));
  return make("span", { class: "named" }, make("b", {}, directory.slice(0, end)), digest);
}

/** @param {Lineage} run */
function lineage(run) {
  const kinds = [
    ["images", run.images],
    ["tower", run.vit],
    ["dictionary", run.sae],
    ["analysis", run.analysis],
  ];
  if (run.trained_on && run.trained_on !== run.images)
    kinds.unshift(["trained on", run.trained_on]);
  const parts = kinds.map(([kind, directory]) =>
    make("li", {}, make("span", { class: "kind" }, kind), named(directory)),
  );
  return make("ol", { class: "lineage" }, ...parts);
}
