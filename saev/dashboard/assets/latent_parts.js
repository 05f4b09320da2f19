// The parts of the page of a latent, beside its images.

/**
 * The most common labels of all images on which the latent fires, as bars over their base rates;
 * null without labels.
 * @param {number} latent
 * @param {LatentData} data
 * @param {State} view
 */
function firingLabels(latent, data, view) {
  const index = about.labels.indexOf(view.label);
  if (index < 0 || !data.firing[index].length) return null;
  const support = Number(numbers("label_support", view.label)[latent]);
  const lines = data.firing[index].map(({ text, images, base }) => {
    const part = images / support;
    const said = `${count(images)} · ${percent(part)}`;
    return make(
      "li",
      {},
      inOneLine(text),
      bar(part, base),
      make("span", { class: "number" }, said),
    );
  });
  const meaning =
    "the most common labels among all images on which it fires, with their number and share. The " +
    "tick on the bar is the label's share of all images: what chance gives";
  const of = make("span", { class: "soft" }, `${count(support)} images with ${view.label}`);
  const title = make("h3", {}, term("All images on which it fires", meaning), of);
  return make("section", {}, title, make("ol", { class: "label-bars" }, ...lines));
}

/**
 * Where in the image the latent fires; null for a stream without patches.
 * @param {number} latent
 * @param {LatentData} data
 */
function positionMap(latent, data) {
  if (!about.cells || !data.positions.length) return null;
  const [height, width] = about.cells;
  const most = Math.max(...data.positions, 1);
  const plot = draw("svg", {
    viewBox: `0 0 ${width} ${height}`,
    class: "places",
    role: "img",
    "aria-label": "How often it fires in each place of the image",
  });
  data.positions.forEach((n, i) => {
    const place = { x: i % width, y: Math.floor(i / width), width: 1, height: 1 };
    const title = draw("title", {}, `${count(n)} vectors`);
    plot.append(draw("rect", { ...place, "fill-opacity": n / most }, title));
  });
  const meaning =
    "how many of the vectors on which it fires lie in each place of the image. Spread: 1 is " +
    "everywhere equally often, 0 is a single place. Border: the share of its top images whose " +
    "strongest patch lies at the border of the image";
  const spread = share(numbers("position_entropy", "")[latent]);
  const border = percent(numbers("border_share", "")[latent]);
  const said = make("p", { class: "soft number" }, `spread ${spread}, border ${border}`);
  return make("section", {}, make("h3", {}, term("Places in the image", meaning)), plot, said);
}

/**
 * The latent's figures: those without a label, and those for the chosen label.
 * @param {number} latent
 * @param {State} view
 */
function tiles(latent, view) {
  const entries = about.tiles.map((tile) => {
    const figure = written(columnOf(tile.column), latent, view.label);
    return entry(
      tile.title,
      figure,
      columnOf(tile.column).meaning,
      filled(tile.note, latent, view.label),
    );
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
    ...columns.map((column) =>
      column.format === "text"
        ? inOneLine(written(column, latent, label))
        : written(column, latent, label),
    ),
  ]);
  return table("Labels of the top images", [[""], ...heads], rows);
}

/**
 * What the evaluation says of the latent; null without one.
 * @param {number} latent
 */
function evaluatedFigures(latent) {
  const columns = (about.evaluation?.columns ?? []).map(columnOf);
  if (!columns.length) return null;
  const entries = columns
    .filter(({ format }) => format !== "text")
    .map((column) => entry(column.title, written(column, latent, ""), column.meaning));
  return make(
    "section",
    {},
    make("h3", {}, "Evaluation"),
    make("dl", { class: "tiles" }, ...entries),
    suggestion(latent),
  );
}

/**
 * The latents with the nearest directions; null if there are none.
 * @param {LatentData} data
 * @param {State} view
 */
function neighbours(data, view) {
  const meaning = "live latents whose decoder directions have the largest cosine with this one's";
  /** @type {[number, string][]} */
  const others = data.neighbours.map((other, i) => [other, share(data.cosines[i])]);
  return linked(term("Nearest latents", meaning), "cosine of directions", others, view);
}

/**
 * The latents with which this one fires most, compared with chance; null if none is known.
 * @param {LatentData} data
 * @param {State} view
 */
function partners(data, view) {
  const meaning =
    "latents that most often fire on the same vectors, compared with chance. PMI is the " +
    "pointwise mutual information in nats: 0 is independent, 0.7 is twice as often as chance. " +
    "The number behind it is how many vectors both fire on";
  /** @type {[number, string][]} */
  const others = data.partners.map(([other, pmi, n]) => [other, `${number(pmi)} · ${count(n)}`]);
  return linked(term("Fire together", meaning), "PMI · vectors", others, view);
}

/**
 * A section of links to other latents; null if there are none.
 * @param {HTMLElement} heading
 * @param {string} what the figures are
 * @param {[number, string][]} others latents, each with its figure
 * @param {State} view
 */
function linked(heading, what, others, view) {
  if (!others.length) return null;
  const links = others.map(([other, figure]) => {
    const row = topStrip(other, 3);
    const label = nameOf(other, view.label);
    const text = make(
      "span",
      { class: "text" },
      make("b", {}, `${other}`),
      label && inOneLine(label),
    );
    const small = make("small", { class: "number" }, figure);
    /** @param {MouseEvent} click */
    const follow = (click) => {
      click.preventDefault();
      openLatent(other);
    };
    const link = { href: address({ latent: other }), onclick: follow };
    return make("a", link, row, text, small);
  });
  const title = make("h3", {}, heading, make("span", { class: "soft" }, what));
  return make("section", {}, title, make("div", { class: "near" }, ...links));
}

/**
 * The strongest images of a latent in a row. They appear when their data has loaded.
 * @param {number} latent
 * @param {number} n how many
 */
function topStrip(latent, n) {
  const slots = Array.from({ length: Math.min(n, stripLength()) }, (_, i) => i);
  const row = make(
    "span",
    { class: "row" },
    ...slots.map(() => make("span", { class: "picture" })),
  );
  row.style.gridTemplateColumns = `repeat(${n}, 1fr)`;
  strongestOf(latent).then(
    ({ rows, patches }) =>
      row.replaceChildren(...slots.map((slot) => framed(rows[slot], patches[slot], "lazy"))),
    () => {},
  );
  return row;
}
