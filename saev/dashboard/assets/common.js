// Shared by both pages. Text from data only ever becomes text: nothing here parses markup.
"use strict";

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function draw(tag, properties = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const missing = "–";
const number = (x, digits = 3) =>
  x === null || x === undefined ? missing : Number(x.toPrecision(digits)).toLocaleString("en");
const count = (x) => (x === null || x === undefined ? missing : x.toLocaleString("en"));
const percent = (x) => (x === null || x === undefined ? missing : `${number(100 * x, 2)} %`);
const share = (x) => (x === null || x === undefined ? missing : x.toFixed(2));

const sides = { train: "trained on", held_out: "held out", other: "other images" };

// The figures of a run, each side beside the baseline of the same number of components.
function figuresTable(summary) {
  const splits = Object.keys(sides).map((name) => [name, summary.splits[name]]).filter(([, figures]) => figures);
  const rows = [
    ["normalised error (nmse)", (f) => number(f.nmse)],
    ["… of PCA with as many components", (f) => number(f.pca_nmse)],
    ["… on raw activations", (f) => number(f.nmse_raw)],
    ["latents active at once (L0)", (f) => number(f.l0)],
    ["images", (f) => count(f.n_images)],
    ["vectors", (f) => count(f.n_vectors)],
  ];
  const head = make("tr", {}, make("th", {}, ""));
  for (const [name] of splits) head.append(make("th", { scope: "col" }, sides[name] || name));
  const body = make("tbody");
  for (const [title, value] of rows) {
    const row = make("tr", {}, make("th", { scope: "row" }, title));
    for (const [, figures] of splits) row.append(make("td", {}, value(figures)));
    body.append(row);
  }
  return make("table", {}, make("thead", {}, head), body);
}

function latentFacts(summary) {
  const facts = make("dl", { class: "facts" });
  const add = (title, text) => facts.append(make("dt", {}, title), make("dd", {}, text));
  add("latents", count(summary.n_latents));
  add("dead", `${count(summary.all.n_dead)} of ${count(summary.n_latents)}`);
  add("dense (on > 10 %)", count(summary.all.n_dense));
  add("skipped pictures", count(summary.n_skipped));
  for (const [label, p] of Object.entries(summary.all.label_purity_top || {})) {
    add(
      `purity by ${label}`,
      `${share(p.mean)} (labels shuffled: ${share(p.shuffled_mean)}), ` +
        `${percent(p.share_75)} of ${count(p.n_latents)} latents ≥ 0.75`
    );
  }
  return facts;
}
