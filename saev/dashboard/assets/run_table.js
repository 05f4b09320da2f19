// The overview: all runs in one table, which a reader sorts by any figure.

/**
 * @typedef {object} RunColumn
 * @property {string} title
 * @property {string | null} meaning
 * @property {(run: GalleryRun) => number | string | null} value what rows are sorted by
 * @property {(run: GalleryRun) => Child} shown
 */

/** @param {GalleryRun} run */
const judged = ({ summary: { splits } }) => splits.held_out ?? splits.other ?? splits.train;

/** @param {GalleryRun} run */
const purity = ({ summary }) => Object.values(summary.all.label_purity_top)[0];

/**
 * A figure beside its baseline.
 * @param {number | null | undefined} value
 * @param {number | null | undefined} baseline
 */
const besideOne = (value, baseline) =>
  make("span", {}, share(value ?? null), make("small", {}, ` ${share(baseline ?? null)}`));

/** @type {RunColumn[]} */
const RUN_COLUMNS = [
  {
    title: "tower",
    meaning: null,
    value: ({ run }) => run.vit,
    shown: ({ run }) => `${clipped(run.images)} / ${clipped(run.vit)}`,
  },
  {
    title: "vectors",
    meaning: "the kind of token, and its layer",
    value: ({ settings }) => `${settings.tokens} ${settings.layer ?? ""}`,
    shown: ({ settings: { tokens, layer } }) =>
      tokens === "pooled" || absent(layer) ? tokens : `${tokens}, layer ${layer}`,
  },
  {
    title: "latents",
    meaning: null,
    value: ({ summary }) => summary.n_latents,
    shown: ({ summary }) => count(summary.n_latents),
  },
  {
    title: "L0",
    meaning: "mean number of active latents per vector",
    value: (run) => judged(run)?.l0 ?? null,
    shown: (run) => number(judged(run)?.l0 ?? null),
  },
  {
    title: "error",
    meaning:
      "nmse on held-out images, or else on those that were analysed; in small print that of a " +
      "principal component analysis with as many components as there are active latents",
    value: (run) => judged(run)?.nmse ?? null,
    shown: (run) => besideOne(judged(run)?.nmse, judged(run)?.pca_nmse),
  },
  {
    title: "purity",
    meaning:
      "mean purity of top images by the first label; in small print the same with shuffled labels",
    value: (run) => purity(run)?.mean ?? null,
    shown: (run) => besideOne(purity(run)?.mean, purity(run)?.shuffled_mean),
  },
  {
    title: "dead",
    meaning: "share of latents that fire on no image",
    value: ({ summary }) => summary.all.n_dead / summary.n_latents,
    shown: ({ summary }) => percent(summary.all.n_dead / summary.n_latents),
  },
];

/**
 * A figure of evaluations as a column.
 * @param {string} title
 * @returns {RunColumn}
 */
const measuredColumn = (title) => ({
  title,
  meaning: "a figure of the run's evaluation; in small print its baselines",
  value: ({ measured }) => measured?.[title]?.value ?? null,
  shown: ({ measured }) => {
    const found = measured?.[title];
    if (!found) return missing;
    const beside = Object.entries(found.baselines)
      .map(([which, value]) => `${which} ${number(value)}`)
      .join(", ");
    const mark = found.unbeaten ? make("span", { class: "unbeaten", title: LOSES }, "⚠ ") : null;
    return make("span", {}, mark, number(found.value), make("small", {}, ` ${beside}`));
  },
});

/**
 * All runs as a table.
 * @param {GalleryRun[]} runs
 */
function runTable(runs) {
  const titles = [...new Set(runs.flatMap(({ measured }) => Object.keys(measured ?? {})))].sort();
  const box = make("div", { class: "run-table" });
  const order = { column: -1, down: false };
  const options = titles.map((title) => make("option", { value: title }, title));
  const chosen = make("select", { id: "run-figure" }, ...options);
  const fill = () => {
    const columns = [...RUN_COLUMNS, ...(titles.length ? [measuredColumn(chosen.value)] : [])];
    const by = columns[order.column];
    const sorted = by
      ? [...runs].sort((a, b) => compared(by.value(a), by.value(b), order.down))
      : runs;
    const rows = sorted.map((run) => [
      run.link ? make("a", { href: run.link }, named(run.run.sae)) : named(run.run.sae),
      ...columns.map((column) => column.shown(run)),
    ]);
    const made = table(
      "All runs",
      [
        ["dictionary"],
        ...columns.map(
          ({ title, meaning }) => /** @type {[string, string?]} */ ([title, meaning ?? undefined]),
        ),
      ],
      rows,
    );
    [...made.querySelectorAll("thead th")].slice(1).forEach((head, i) => {
      const isBy = order.column === i;
      if (isBy) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      const label = `Sort by ${columns[i].title}`;
      const arrow = isBy ? (order.down ? "↓" : "↑") : "↕";
      const sort = make("button", { type: "button", class: "sort", "aria-label": label }, arrow);
      sort.addEventListener("click", () => {
        Object.assign(order, { column: i, down: isBy && !order.down });
        fill();
        /** @type {HTMLElement} */ (box.querySelectorAll("button.sort")[i]).focus();
      });
      head.append(sort);
    });
    box.replaceChildren(made);
  };
  chosen.addEventListener("change", fill);
  fill();
  const choice = titles.length
    ? make(
        "p",
        { class: "soft" },
        make("label", { for: "run-figure" }, "Figure of evaluations: "),
        chosen,
      )
    : null;
  return make("section", { class: "run" }, choice, box);
}

/**
 * Which of two values comes first; what is missing comes last.
 * @param {number | string | null} a
 * @param {number | string | null} b
 * @param {boolean} down
 */
function compared(a, b, down) {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  const rising = a < b ? -1 : Number(a > b);
  return down ? -rising : rising;
}
