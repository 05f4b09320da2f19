// The list of all runs.

function curve(points, baseline) {
  const width = 340, height = 118, left = 34, lines = [points.train, points.held_out], all = lines.flat();
  if (all.length < 2) return make("p", { class: "soft" }, "No curve was logged.");
  const last = Math.max(...all.map(([step]) => step), 1), highest = Math.max(...all.map(([, y]) => y), baseline ?? 0);
  const top = Math.min(1.2, Math.ceil(highest * 5) / 5 || 1);
  const x = (step) => left + ((width - left) * step) / last, y = (value) => height - (height * Math.min(value, top)) / top;
  const plot = draw("svg", { viewBox: `0 -6 ${width} ${height + 24}`, role: "img", "aria-label": "Normalised error over the steps of training" });
  for (const value of [0, top / 2, top]) {
    plot.append(draw("line", { x1: left, x2: width, y1: y(value), y2: y(value), class: "axis" }));
    plot.append(draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, number(value, 2)));
  }
  const line = (list, properties) => draw("polyline", {
    points: list.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" "),
    fill: "none", "stroke-width": 1.8, "stroke-linejoin": "round", ...properties,
  });
  if (!absent(baseline)) plot.append(line([[0, baseline], [last, baseline]], { stroke: "var(--soft)", "stroke-dasharray": "1.5 4", "stroke-linecap": "round" }));
  plot.append(line(points.train, { stroke: "var(--accent)" }), line(points.held_out, { stroke: "var(--held)", "stroke-dasharray": "6 3" }));
  plot.append(draw("text", { x: width, y: height + 15, "text-anchor": "end" }, `${count(last)} steps`), draw("text", { x: left, y: height + 15 }, "0"));
  const key = (text, style) => make("span", {}, make("i", { style }), text);
  return make("div", { class: "curve" }, make("h3", {}, "Error while training"), plot, make("div", { class: "key" },
    key("trained on", "border-color:var(--accent)"), points.held_out.length ? key("held out", "border-color:var(--held);border-top-style:dashed") : null,
    absent(baseline) ? null : key("PCA", "border-color:var(--soft);border-top-style:dotted")));
}

function strip(run) {
  return make("div", { class: "strip" }, ...run.examples.map((example) =>
    make("a", { href: `${run.link}#latent=${example.latent}`, "aria-label": `Latent ${example.latent} ${example.label ?? ""}` },
      make("span", { class: "row" }, ...example.pictures.map((name) =>
        make("span", { class: "picture" }, name === null ? null : make("img", { src: run.pictures + name, alt: "", loading: "lazy" })))),
      make("span", { class: "text" }, example.label ?? "latent", make("small", { class: "number" }, `${example.latent}`)))));
}

const eyes = { cls: "Whole pictures (class token)", patches: "Patches", pooled: "Whole pictures (output)" };

function article(run) {
  const { settings, summary } = run, layer = absent(settings.layer) || settings.tokens === "pooled" ? "" : `, layer ${settings.layer}`;
  const sparsity = absent(settings.k) ? "" : `, k = ${settings.k}`;
  const baseline = (summary.splits.held_out ?? summary.splits.train ?? {}).pca_nmse;
  return make("article", { class: "run" },
    make("div", { class: "top" },
      make("div", {}, make("h2", {}, `${eyes[settings.tokens] ?? settings.tokens}${layer}`),
        make("p", { class: "soft" }, `${count(summary.n_latents)} latents, ${run.architecture}${sparsity}`), lineage(run.run), latentCounts(summary)),
      make("a", { class: "open", href: run.link }, "Open")),
    strip(run),
    make("div", { class: "parts" }, figuresTable(summary), purityTable(summary), curve(run.curve, baseline)));
}

function gallery(content) {
  const n = content.runs.length;
  document.getElementById("count").textContent =
    `${n} ${n === 1 ? "run" : "runs"}. Each is a dictionary of latents: directions in what a model computes, shown by the pictures on which they are strongest.`;
  const others = content.runs.filter((run) => !run.current);
  const note = "Made with other settings than the last command's; still whole.";
  document.getElementById("runs").append(...content.runs.filter((run) => run.current).map(article),
    ...(others.length ? [make("h2", { class: "others" }, "Other runs"), make("p", { class: "soft" }, note), ...others.map(article)] : []));
  const credits = new Set(content.runs.map((run) => run.credit).filter(Boolean));
  document.getElementById("footer").append(...[...credits].map((text) => make("p", {}, text)));
}
