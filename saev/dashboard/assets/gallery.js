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

// L0 against error of a sweep's points, both on log scales. Shape tells as much as colour.
function frontier(sweep) {
  const width = 640, height = 300, left = 52, right = 150, points = sweep.points, error = sweep.held_out ? "held-out error (nmse)" : "error (nmse)";
  const positive = points.filter((p) => p.l0 > 0 && p.nmse > 0);
  const scale = (values, from, to) => {
    const low = Math.log(Math.min(...values)), high = Math.log(Math.max(...values)), room = Math.max(0.08 * (high - low), 0.02);
    return (v) => from + ((to - from) * (Math.log(v) - low + room)) / (high - low + 2 * room);
  };
  const plot = draw("svg", { viewBox: `0 0 ${width} ${height + 42}`, role: "img", "aria-label": `L0 and ${error} of the points of ${sweep.entry}` });
  if (positive.length) {
    const l0 = positive.map((p) => p.l0), nmse = positive.map((p) => p.nmse), x = scale(l0, left, width - right), y = scale(nmse, height, 36);
    plot.append(draw("line", { x1: left, x2: width - right, y1: height, y2: height, class: "axis" }), draw("line", { x1: left, x2: left, y1: 12, y2: height, class: "axis" }));
    for (const v of new Set([Math.min(...l0), Math.max(...l0)])) plot.append(draw("text", { x: x(v), y: height + 16, "text-anchor": "middle" }, number(v)));
    for (const v of new Set([Math.min(...nmse), Math.max(...nmse)])) plot.append(draw("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, number(v)));
    plot.append(draw("text", { x: (left + width - right) / 2, y: height + 36, "text-anchor": "middle" }, "L0: latents active at once (log)"), draw("text", { x: left + 6, y: 14 }, `${error} (log)`));
    const line = positive.filter((p) => p.pareto).map((p) => `${x(p.l0).toFixed(1)},${y(p.nmse).toFixed(1)}`).join(" ");
    plot.append(draw("polyline", { points: line, fill: "none", stroke: "var(--accent)", "stroke-width": 1.5 }));
    for (const p of positive) {
      const at = { cx: x(p.l0), cy: y(p.nmse) }, best = p.name === sweep.recommended;
      const link = draw("a", { href: p.link }, draw("title", {}, `${p.name}: L0 ${number(p.l0)}, ${error} ${share3(p.nmse)}, ${percent(p.dead)} dead`));
      link.append(draw("circle", { ...at, r: 5, stroke: "var(--accent)", "stroke-width": 1.5, fill: p.pareto ? "var(--accent)" : "var(--card)" }));
      if (best) link.append(draw("circle", { ...at, r: 10, fill: "none", stroke: "var(--held)", "stroke-width": 2.5 }));
      if (p.pareto) link.append(draw("text", { x: at.cx + 13, y: at.cy - 6 }, p.label));
      plot.append(link);
    }
  }
  const mark = (p) => (p.name === sweep.recommended ? "recommended" : p.pareto ? "Pareto-optimal" : "");
  return make("article", { class: "run frontier" }, make("h2", {}, `Sweep of ${sweep.entry}`), make("p", { class: "soft" }, sweep.where),
    make("div", { class: "parts" }, make("div", { class: "curve wide" }, make("h3", {}, "Sparsity against error"), plot,
      make("p", { class: "soft" }, "Filled: Pareto-optimal. Ringed: recommended.")),
    table("Points", [["", null], ["L0", null], ["error", null], ["dead", null], ["", null]],
      points.map((p) => [make("a", { href: p.link }, p.label), number(p.l0), share3(p.nmse), percent(p.dead), mark(p)]))),
    make("p", { class: "soft" }, absent(sweep.recommended) ? `No point is recommended. ${sweep.rule}` : sweep.rule));
}

function gallery(content) {
  const n = content.runs.length;
  document.getElementById("count").textContent =
    `${n} ${n === 1 ? "run" : "runs"}. Each is a dictionary of latents: directions in what a model computes, shown by the pictures on which they are strongest.`;
  const others = content.runs.filter((run) => !run.current);
  const note = "Made with other settings than the last command's; still whole.";
  document.getElementById("runs").append(...(content.frontiers ?? []).map(frontier), ...content.runs.filter((run) => run.current).map(article),
    ...(others.length ? [make("h2", { class: "others" }, "Other runs"), make("p", { class: "soft" }, note), ...others.map(article)] : []));
  const credits = new Set(content.runs.map((run) => run.credit).filter(Boolean));
  document.getElementById("footer").append(...[...credits].map((text) => make("p", {}, text)));
}
