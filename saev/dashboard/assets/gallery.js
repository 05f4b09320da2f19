// The list of all runs.

function curve(points) {
  const width = 320, height = 120, all = [...points.train, ...points.held_out];
  if (all.length < 2) return make("p", { class: "soft" }, "No curve was logged.");
  const last = Math.max(...all.map(([step]) => step)), top = Math.min(1.2, Math.max(...all.map(([, y]) => y)));
  const x = (step) => 34 + ((width - 38) * step) / last, y = (value) => height - (height * Math.min(value, top)) / top;
  const plot = draw("svg", { viewBox: `0 -6 ${width} ${height + 26}`, role: "img", "aria-label": "Normalised error over the steps of training" });
  for (const value of [0, top / 2, top]) {
    plot.append(draw("line", { x1: 34, x2: width, y1: y(value), y2: y(value), stroke: "var(--line)" }));
    plot.append(draw("text", { x: 29, y: y(value) + 4, "text-anchor": "end" }, number(value, 2)));
  }
  const line = (list, properties) => draw("polyline", {
    points: list.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" "),
    fill: "none", "stroke-width": 1.8, "stroke-linejoin": "round", ...properties,
  });
  plot.append(line(points.train, { stroke: "var(--accent)" }));
  plot.append(line(points.held_out, { stroke: "var(--held)", "stroke-dasharray": "5 3" }));
  plot.append(draw("text", { x: width, y: height + 15, "text-anchor": "end" }, `${count(last)} steps`));
  const key = make("div", { class: "key" },
    make("span", {}, make("i", { style: "border-color:var(--accent)" }), "nmse, trained on"),
    make("span", {}, make("i", { style: "border-color:var(--held);border-top-style:dashed" }), "held out"));
  return make("div", {}, plot, key);
}

function strip(run) {
  return make("div", { class: "strip" }, ...run.examples.map((example) =>
    make("a", { href: `${run.link}#latent=${example.latent}` },
      make("div", { class: "row" }, ...example.pictures.map((name) =>
        make("img", { src: run.pictures + name, alt: "", loading: "lazy" }))),
      make("span", {}, `${example.latent}${example.label === null ? "" : ` ${example.label}`}`))));
}

function gallery(content) {
  const n = content.runs.length;
  document.getElementById("count").textContent =
    `${n} ${n === 1 ? "run" : "runs"}. Each is a dictionary of latents; open one to look at all of them.`;
  for (const run of content.runs) {
    const names = run.run;
    document.getElementById("runs").append(make("article", { class: "run" },
      make("div", { class: "top" },
        make("div", {},
          make("h2", {}, `${run.settings.tokens}${run.settings.layer === undefined ? "" : `, layer ${run.settings.layer}`}: ${count(run.summary.n_latents)} latents, ${run.architecture}`),
          make("p", { class: "lineage" }, ...[names.images, names.vit, names.sae, names.analysis].flatMap((name, i) => (i ? [" → ", name] : [name])))),
        make("a", { class: "open", href: run.link }, "Open the dictionary")),
      make("div", { class: "parts", style: "margin-top:12px" }, figuresTable(run.summary), latentFacts(run.summary), curve(run.curve)),
      strip(run)));
  }
  const credits = new Set(content.runs.map((run) => run.credit).filter(Boolean));
  document.getElementById("footer").append(...[...credits].map((text) => make("p", {}, text)));
}
