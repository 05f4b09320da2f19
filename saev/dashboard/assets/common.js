// Shared by both pages. Text from data only ever becomes text: nothing here parses markup.
"use strict";

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
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

// Missing is shown as missing: never 0, never NaN.
const missing = "–";
const absent = (x) => x === null || x === undefined;
const number = (x, digits = 3) => (absent(x) ? missing : Number(x.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits }));
const count = (x) => (absent(x) ? missing : x.toLocaleString("en"));
const percent = (x) => (absent(x) ? missing : `${number(100 * x, 2)} %`);
const share = (x) => (absent(x) ? missing : x.toFixed(2));

function table(caption, head, rows) {
  const line = (cells) => make("tr", {}, ...cells.map((text, i) => make(i ? "td" : "th", i ? {} : { scope: "row" }, text)));
  return make("table", {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...head.map(([text, title]) => make("th", { scope: "col", title }, text)))),
    make("tbody", {}, ...rows.map(line)));
}

// The figures of a run: each set of images with its size, each error beside the trivial baseline.
function figuresTable(summary) {
  const sides = { train: "trained on", held_out: "held out", other: "other images" };
  const splits = Object.keys(sides).filter((name) => summary.splits[name]);
  return table("Reconstruction",
    [["", null], ["error", "nmse: squared error over variance, as the dictionary sees it; 0 is a perfect copy, 1 is no better than the mean"],
      ["PCA", "nmse of a principal component analysis with as many components as latents are active: the baseline"],
      ["raw", "nmse on raw activations"], ["L0", "latents active at once, on average"], ["images", null], ["vectors", null]],
    splits.map((name) => {
      const f = summary.splits[name];
      return [sides[name], share3(f.nmse), share3(f.pca_nmse), share3(f.nmse_raw), number(f.l0), count(f.n_images), count(f.n_vectors)];
    }));
}
const share3 = (x) => (absent(x) ? missing : x.toFixed(3));

// Purity beside what shuffled labels give; null without labels.
function purityTable(summary) {
  const labels = Object.entries(summary.all.label_purity_top ?? {});
  if (!labels.length) return null;
  return table("Purity of top images",
    [["label", null], ["mean", "mean share of the most common label among a latent's top images"], ["shuffled", "the same with the labels shuffled over the images: the baseline"],
      ["≥ 0.75", "share of latents with a purity of at least 0.75"], ["shuffled", null], ["latents", "latents that fire on 16 images or more"]],
    labels.map(([name, p]) => [name, share(p.mean), share(p.shuffled_mean), percent(p.share_75), percent(p.shuffled_share_75), count(p.n_latents)]));
}

function latentCounts(summary) {
  const all = summary.all;
  return make("dl", { class: "counts" }, ...[
    ["latents", count(summary.n_latents), null],
    ["dead", count(all.n_dead), "latents that fire on no image"],
    ["dense", count(all.n_dense), "latents that fire on more than 10 % of the vectors"],
    ["images", count(all.n_images), null],
    ["skipped", count(summary.n_skipped), "pictures that could not be read"],
  ].map(([title, value, about]) => make("div", { title: about }, make("dt", {}, title), make("dd", {}, value))));
}

// "clip-b16-1a2b3c4d": the digest after the name matters less than the name.
function named(directory) {
  const at = directory.lastIndexOf("-");
  return at < 0 ? make("b", {}, directory)
    : make("span", { class: "named" }, make("b", {}, directory.slice(0, at)), make("small", {}, directory.slice(at)));
}

function lineage(run) {
  const parts = [["images", run.images], ["tower", run.vit], ["dictionary", run.sae], ["analysis", run.analysis]];
  const trained = run.trained_on && run.trained_on !== run.images ? [["trained on", run.trained_on]] : [];
  return make("ol", { class: "lineage" }, ...[...trained, ...parts].map(([kind, name]) =>
    make("li", {}, make("span", { class: "kind" }, kind), named(name))));
}
