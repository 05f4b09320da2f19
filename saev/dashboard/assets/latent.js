// The parts of the dialog that shows one latent.

/**
 * The latent's top images with their activations, keys and labels.
 * @param {LatentData} data
 * @param {Uint8Array | null} heat
 * @param {State} view
 */
function topImages(data, heat, view) {
  const places = data.rows.map((row, i) => {
    const image = thumbnail(i, data, heat, view, "eager");
    if (row < 0) return make("figure", {}, image, make("figcaption", {}, "no more images"));
    const key = data.key(row);
    const labels = data
      .labels(row)
      .filter((text) => text !== null)
      .join(" · ");
    const patch = data.patches[i] < 0 ? "" : `strongest on patch ${data.patches[i]}`;
    const value = make("b", { class: "number" }, number(data.values[i]));
    const caption = make(
      "figcaption",
      {},
      make("span", {}, value, labels ? ` ${labels}` : ""),
      make("span", { class: "key-name" }, key),
    );
    const title = [key, labels, `row ${row}`, patch].filter(Boolean).join("\n");
    return make("figure", { title }, image, caption);
  });
  return make("div", { class: "grid" }, ...places);
}

/**
 * The controls for how to show where the latent fires; null for a stream without patches.
 * @param {State} view
 * @param {(change: Partial<State>) => void} change
 */
function heatLegend(view, change) {
  if (!about.grid) return null;
  const buttons = heatModes.map(([mode, text]) => {
    const pressed = String(view.heat === mode);
    const apply = () => change({ heat: mode });
    return make("button", { type: "button", "aria-pressed": pressed, onclick: apply }, text);
  });
  const group = { class: "segments", role: "group", "aria-label": "How to show where it fires" };
  const modes = make("div", group, ...buttons);
  if (view.heat === "off") return modes;
  const slider = make("input", {
    type: "range",
    min: 10,
    max: 100,
    step: 5,
    value: view.strength,
    "aria-label": "Strength of the overlay",
    oninput: (input) => change({ strength: Number(typed(input)) }),
  });
  const stops = ramp.map((c) => `rgb(${c})`).join(",");
  const gradient = make("i", { style: `background:linear-gradient(90deg,${stops})` });
  const scale = make("span", { class: "scale" }, "0", gradient, "largest");
  return make("div", { class: "legend" }, modes, slider, view.heat === "colour" ? scale : null);
}

/**
 * The histogram of the latent's activations.
 * @param {number[]} bins the first bin that is filled, then the counts from there on
 */
function histogram([first, ...counts]) {
  if (!counts.length) return make("p", { class: "soft" }, "It never fires.");
  const [width, height] = [480, 84];
  const most = Math.max(...counts);
  const each = Math.min(48, width / counts.length);
  const edge = (/** @type {number} */ i, digits = 3) => number(about.bin_edges[first + i], digits);
  const range = `${edge(0)} to ${edge(counts.length)}`;
  const fullest = `the fullest bin holds ${count(most)} vectors`;
  const plot = draw("svg", {
    viewBox: `0 -14 ${width} ${height + 32}`,
    class: "bars",
    role: "img",
    "aria-label": `Histogram of activations from ${range}; ${fullest}`,
  });
  /**
   * @param {number} x
   * @param {number} y
   * @param {string} anchor
   * @param {string} text
   */
  const write = (x, y, anchor, text) =>
    plot.append(draw("text", { x, y, "text-anchor": anchor }, text));
  counts.forEach((n, i) => {
    const tall = n ? Math.max(1.5, (height * n) / most) : 0;
    const title = draw("title", {}, `${edge(i)} to ${edge(i + 1)}: ${count(n)} vectors`);
    const place = { x: i * each + 0.5, y: height - tall, width: Math.max(1, each - 1) };
    plot.append(draw("rect", { ...place, height: tall, rx: 1 }, title));
    if (n === most) write((i + 0.5) * each, height - tall - 4, "middle", count(n));
  });
  const used = each * counts.length;
  plot.append(draw("line", { x1: 0, x2: used, y1: height, y2: height, class: "axis" }));
  const every = Math.max(1, Math.ceil(counts.length / 8));
  for (let i = 0; i <= counts.length; i += every) {
    const anchor = i === 0 ? "start" : i === counts.length ? "end" : "middle";
    write(i * each, height + 14, anchor, edge(i, 2));
  }
  return plot;
}

/**
 * The latent's figures: those without a label, and those for the chosen label.
 * @param {number} latent
 * @param {State} view
 */
function tiles(latent, view) {
  const entries = about.tiles.map((tile) => {
    const figure = written(columnOf(tile.column), latent, view.label);
    return entry(tile.title, figure, null, filled(tile.note, latent, view.label));
  });
  return make("dl", { class: "tiles" }, ...entries);
}

/**
 * The latent's figures for each label; null without labels.
 * @param {number} latent
 */
function labelTable(latent) {
  if (!about.labels.length) return null;
  const columns = about.label_table.map(({ column }) => columnOf(column));
  /** @type {[string, string][]} */
  const heads = about.label_table.map(({ title }, i) => [title, columns[i].meaning]);
  const rows = about.labels.map((label) => [
    label,
    ...columns.map((column) => written(column, latent, label)),
  ]);
  return table("Labels", [[""], ...heads], rows);
}

/**
 * The latents with the nearest directions; null if there are none.
 * @param {LatentData} data
 * @param {State} view
 */
function neighbours(data, view) {
  if (!data.neighbours.length) return null;
  const slots = [0, 1, 2];
  const links = data.neighbours.map((other, i) => {
    const places = slots.map(() => make("span", { class: "picture" }));
    const row = make("span", { class: "row" }, ...places);
    dataOf(other).then(
      (its) =>
        row.replaceChildren(...slots.map((slot) => thumbnail(slot, its, null, view, "lazy"))),
      () => {},
    );
    const label = ` ${nameOf(other, view.label) ?? ""}`;
    const text = make("span", { class: "text" }, make("b", {}, `${other}`), label);
    const cosine = make("small", { class: "number" }, share(data.cosines[i]));
    /** @param {MouseEvent} click */
    const follow = (click) => {
      click.preventDefault();
      go({ latent: other });
    };
    return make("a", { href: address({ latent: other }), onclick: follow }, row, text, cosine);
  });
  const help = { title: "cosine of the decoder directions" };
  const title = make("h3", help, "Nearest latents (cosine of their directions)");
  return make("section", {}, title, make("div", { class: "near" }, ...links));
}
