// Pictures with what a latent sees in them, and the dialog that shows one latent.

// Perceptually even, from dark to light, so told apart by every kind of colour vision.
const ramp = [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];
function colour(v) {
  const at = v * (ramp.length - 1), i = Math.min(Math.floor(at), ramp.length - 2), f = at - i;
  return ramp[i].map((c, j) => c + f * (ramp[i + 1][j] - c));
}

const heatModes = [["spotlight", "spotlight"], ["colour", "heat map"], ["off", "pictures only"]];

function paint(canvas, heat, slot, view) {
  const [lines, columns] = about.grid, size = lines * columns, pixels = new ImageData(columns, lines);
  for (let p = 0; p < size; p++) {
    const v = heat[slot * size + p] / 255;
    // The spotlight veils what the latent doesn't see; the veil is gray, to show on white and on black.
    const [r, g, b] = view.heat === "colour" ? colour(v) : [52, 58, 72];
    const strength = (view.strength / 100) * (view.heat === "colour" ? 1 : 1 - Math.sqrt(v));
    pixels.data.set([r, g, b, Math.round(255 * strength)], 4 * p);
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

// A picture that isn't square lies in the middle of its box; what is drawn on it lies on the picture.
function fit(node, image, [left, top, width, height]) {
  const place = () => {
    const longer = Math.max(image.naturalWidth, image.naturalHeight) || 1;
    const across = (image.naturalWidth || 1) / longer, down = (image.naturalHeight || 1) / longer;
    Object.assign(node.style, {
      left: `${50 - 50 * across + 100 * across * left}%`, top: `${50 - 50 * down + 100 * down * top}%`,
      width: `${100 * across * width}%`, height: `${100 * down * height}%`,
    });
  };
  if (image.complete) place();
  else image.addEventListener("load", place);
}

// One picture of a latent, as the model saw it, with the strongest patch framed, or its heat map over it.
// The place stays empty where there is no picture.
function picture(slot, data, heat, view, loading) {
  const row = data.rows[slot];
  if (row === undefined || row < 0) return make("div", { class: "picture absent" });
  const image = make("img", { src: pictureName(row), alt: data.image(row)[0], loading, decoding: "async" });
  const box = make("div", { class: "picture" }, image);
  if (heat && view.heat !== "off") {
    const canvas = make("canvas", { width: about.grid[1], height: about.grid[0] });
    paint(canvas, heat, slot, view);
    box.append(canvas);
    fit(canvas, image, [0, 0, 1, 1]);
  } else if (about.grid && !heat && view.heat !== "off" && data.patches[slot] >= 0) {
    const frame = make("span", { class: "frame" }), [lines, columns] = about.grid, p = data.patches[slot];
    fit(frame, image, [(p % columns) / columns, Math.floor(p / columns) / lines, 1 / columns, 1 / lines]);
    box.append(frame);
  }
  return box;
}

function histogram(bins) {
  if (!bins.length) return make("p", { class: "soft" }, "It never fires.");
  const [first, ...counts] = bins, width = 480, height = 84, most = Math.max(...counts);
  const edges = about.bin_edges, w = Math.min(48, width / counts.length), used = w * counts.length;
  const plot = draw("svg", {
    viewBox: `0 -14 ${width} ${height + 32}`, class: "bars", role: "img",
    "aria-label": `Histogram of activations from ${number(edges[first])} to ${number(edges[first + counts.length])}; the fullest bin holds ${count(most)} vectors`,
  });
  counts.forEach((n, i) => {
    const h = n ? Math.max(1.5, (height * n) / most) : 0;
    const bar = draw("rect", { x: i * w + 0.5, y: height - h, width: Math.max(1, w - 1), height: h, rx: 1 });
    bar.append(draw("title", {}, `${number(edges[first + i])} to ${number(edges[first + i + 1])}: ${count(n)} vectors`));
    plot.append(bar);
    if (n === most) plot.append(draw("text", { x: (i + 0.5) * w, y: height - h - 4, "text-anchor": "middle" }, count(n)));
  });
  plot.append(draw("line", { x1: 0, x2: used, y1: height, y2: height, class: "axis" }));
  const every = Math.max(1, Math.ceil(counts.length / 8));
  for (let i = 0; i <= counts.length; i += every) {
    const anchor = i === 0 ? "start" : i === counts.length ? "end" : "middle";
    plot.append(draw("text", { x: i * w, y: height + 14, "text-anchor": anchor }, number(edges[first + i], 2)));
  }
  return plot;
}

function facts(latent) {
  const all = about.summary.all;
  const tiles = [
    ["images", count(figure("image_count", latent)), `of ${count(all.n_images)}`],
    ["frequency", percent(figure("fire_rate", latent)), `of ${count(all.n_vectors)} vectors`],
    ["mean", number(figure("mean_activation", latent)), "activation, where it fires"],
    ["largest", number(figure("max_activation", latent)), "activation"],
  ];
  return make("dl", { class: "tiles" }, ...tiles.map(([title, value, note]) =>
    make("div", {}, make("dt", {}, title), make("dd", {}, value, make("small", {}, note)))));
}

function labelTable(latent) {
  if (!about.labels.length) return null;
  const kept = (name, label) => figure(`${name}.${label}`, latent);
  return table("Labels",
    [["", null], ["most common", null], ["purity of top", "share of the most common label among the top images"],
      ["of all", "share of the most common label among all images on which it fires"],
      ["entropy", "over all images on which it fires: 0 is one label only, 1 is all labels alike"], ["images", "images with a label on which it fires"]],
    about.labels.map((name) => [name, kept("top_label", name) ?? missing, share(kept("label_purity_top", name)),
      share(kept("label_purity", name)), share(kept("label_entropy", name)), count(kept("label_support", name))]));
}

function neighbours(data, view, link) {
  if (!data.neighbours.length) return null;
  const list = make("div", { class: "near" }, ...data.neighbours.map((other, i) => {
    const strip = make("span", { class: "row" }, ...[0, 1, 2].map(() => make("span", { class: "picture" })));
    dataOf(other).then((its) => strip.replaceChildren(...[0, 1, 2].map((slot) => picture(slot, its, null, view, "lazy"))), () => {});
    return make("a", { href: link(other), "data-step": "" }, strip, make("span", { class: "text" },
      make("b", {}, `${other}`), ` ${topLabel(other, view.label) ?? ""}`), make("small", { class: "number" }, share(data.cosines[i])));
  }));
  return make("section", {}, make("h3", { title: "cosine of the decoder's directions" }, "Nearest latents (cosine of their directions)"), list);
}

function topImages(data, heat, view) {
  return make("div", { class: "grid" }, ...data.rows.map((row, i) => {
    if (row < 0) return make("figure", {}, picture(i, data, heat, view, "eager"), make("figcaption", {}, "no further image"));
    const [key, ...labels] = data.image(row), where = labels.filter((text) => text !== null).join(" · ");
    const title = [key, where, `row ${row}`, data.patches[i] < 0 ? null : `strongest on patch ${data.patches[i]}`].filter(Boolean).join("\n");
    return make("figure", { title }, picture(i, data, heat, view, "eager"),
      make("figcaption", {}, make("span", {}, make("b", { class: "number" }, number(data.values[i])), where ? ` ${where}` : ""), make("span", { class: "key-name" }, key)));
  }));
}

function heatLegend(view, change) {
  if (!about.grid) return null;
  const modes = make("div", { class: "segments", role: "group", "aria-label": "How to show where it fires" }, ...heatModes.map(([mode, text]) =>
    make("button", { type: "button", "aria-pressed": String(view.heat === mode), onclick: () => change({ heat: mode }) }, text)));
  if (view.heat === "off") return modes;
  const slider = make("input", {
    type: "range", min: 10, max: 100, step: 5, value: view.strength, "aria-label": "Strength of the overlay",
    oninput: (event) => change({ strength: Number(event.target.value) }),
  });
  const stops = view.heat === "colour" ? ramp.map((c) => `rgb(${c})`).join(",") : "var(--veil), transparent";
  return make("div", { class: "legend" }, modes, slider, view.heat === "colour"
    ? make("span", { class: "scale" }, "0", make("i", { style: `background:linear-gradient(90deg,${stops})` }), "largest") : null);
}
