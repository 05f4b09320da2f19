// The list of all runs.

/** @type {Record<string, string | undefined>} */
const eyes = {
  cls: "Whole images (class token)",
  patches: "Patches",
  pooled: "Whole images (output)",
};

/**
 * A strip of latents, which link to their pages.
 * @param {string} title
 * @param {string} meaning how they were chosen
 * @param {Example[]} examples
 * @param {GalleryRun} run
 */
function strip(title, meaning, examples, run) {
  const links = examples.map((example) => {
    const images = example.pictures.map((file) =>
      make(
        "span",
        { class: "picture" },
        make("img", { src: run.pictures + file, alt: "", loading: "lazy" }),
      ),
    );
    const { count: hits, n_top: most, base, label, latent } = example;
    const evidence = absent(label) ? "no name" : `${hits} of ${most}, base ${percent(base)}`;
    return make(
      run.link ? "a" : "div",
      run.link ? { href: `${run.link}#latent=${latent}` } : {},
      make("span", { class: "row" }, ...images),
      make("span", { class: "text" }, absent(label) ? `Latent ${latent}` : inOneLine(label)),
      make("span", { class: "text soft" }, evidence),
    );
  });
  const heading = make("h3", {}, term(title, meaning));
  return make("section", {}, heading, make("div", { class: "strip" }, ...links));
}

/** @param {GalleryRun} run */
function strips(run) {
  const { first, drawn, n_live: live, seed } = run.strips;
  const rule =
    "those that the page lists first: with labels, by lift, the best latent of each label in " +
    "turn; without, by the number of images. Positional and dense latents come last";
  const chance = `drawn from the ${count(live)} latents that fire, with the seed ${seed}`;
  return [
    strip("First in the list", rule, first, run),
    strip(`Drawn at random (seed ${seed})`, chance, drawn, run),
  ];
}

/**
 * What a run shows below its name. It takes most of the time, and images and a plot.
 * @param {GalleryRun} run
 */
function details(run) {
  const { summary } = run;
  const baseline = (summary.splits.held_out ?? summary.splits.train)?.pca_nmse;
  const figures = [
    figuresTable(summary),
    purityTable(summary),
    curve(run.curve, baseline),
    run.evaluation ? evaluationTable(run.evaluation) : null,
  ];
  return [...strips(run), make("div", { class: "parts" }, ...figures)];
}

/** @param {GalleryRun} run */
function article(run) {
  const { settings, summary } = run;
  const eye = eyes[settings.tokens] ?? settings.tokens;
  const oneLayer = !absent(settings.layer) && settings.tokens !== "pooled";
  const layer = oneLayer ? `, layer ${settings.layer}` : "";
  const size = `${count(summary.n_latents)} latents`;
  const dictionary = [size, run.architecture, ...told(run.telling)].join(", ");
  const about = make(
    "div",
    {},
    make("h2", {}, `${eye}${layer}`),
    make("p", { class: "soft" }, dictionary),
    lineage(run.run),
    latentCounts(summary),
    ...run.doubts.map(doubtful),
  );
  const link = run.link ? make("a", { class: "open", href: run.link }, "Open") : null;
  return make("article", { class: "run" }, make("div", { class: "top" }, about, link));
}

// Runs whose details are made at once. Those of the others wait until they come near the window, so
// that a page of hundreds of runs opens as fast as one of a few.
const atOnce = 8;

/**
 * The articles of runs, in their order.
 * @param {GalleryRun[]} runs
 */
function articles(runs) {
  /** @type {Map<Element, GalleryRun>} */
  const waiting = new Map();
  const watcher = new IntersectionObserver(
    (seen) => {
      for (const { isIntersecting, target } of seen) {
        const run = waiting.get(target);
        if (!isIntersecting || !run) continue;
        waiting.delete(target);
        watcher.unobserve(target);
        target.classList.remove("waiting");
        target.append(...details(run));
      }
    },
    { rootMargin: "100% 0px" },
  );
  return runs.map((run, i) => {
    const made = article(run);
    if (i < atOnce) {
      made.append(...details(run));
    } else {
      made.classList.add("waiting");
      waiting.set(made, run);
      watcher.observe(made);
    }
    return made;
  });
}

/**
 * The reports of `saev parity`.
 * @param {Comparison[]} found
 */
function comparisons(found) {
  const lines = found.map(({ answer, link, title }) =>
    make("li", {}, make("a", { href: link }, title), `: ${clipped(answer)}`),
  );
  const heading = make("h2", { class: "others" }, "Comparisons of versions");
  return make("section", { class: "comparisons" }, heading, make("ul", {}, ...lines));
}

/**
 * Fills the page.
 * @param {Gallery} content
 */
function gallery(content) {
  const n = content.runs.length;
  at("count").textContent =
    (n ? `${n} ${n === 1 ? "run" : "runs"}. ` : "") +
    "A run is a dictionary of latents: directions in what a model computes, shown by the images " +
    "on which they are strongest.";
  const current = content.runs.filter((run) => run.current);
  const others = content.runs.filter((run) => !run.current);
  const pairs = n > 1 ? runPairs(content.runs) : null;
  if (pairs) at("runs").append(runTable(content.runs, content.meanings ?? {}, pairs.compare));
  at("runs").append(...content.frontiers.map(frontier), ...articles(current));
  if (others.length) {
    const note = "Complete, but not part of the last command's settings.";
    at("runs").append(
      make("h2", { class: "others" }, "Other runs"),
      make("p", { class: "soft" }, note),
      ...articles(others),
    );
  }
  if (pairs) at("runs").append(pairs.section);
  if (content.comparisons) at("runs").append(comparisons(content.comparisons));
  const credits = new Set(content.runs.map((run) => run.credit));
  at("footer").append(...[...credits].filter((text) => text).map((text) => make("p", {}, text)));
}
