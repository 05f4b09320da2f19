// The view Compare: two latents of the run side by side.

const COMPARED_IMAGES = 12;

/**
 * A latent's decoder direction, with one signed byte for each component.
 * @param {number} latent
 */
async function directionOf(latent) {
  const n = Math.floor(latent / about.block);
  await loadPart(`data/directions/${padded(n, 4)}.js`, `directions ${n}`);
  const packed = /** @type {Directions} */ (saevData[`directions ${n}`])[latent % about.block];
  return Int8Array.from(binaryOf(packed), (byte) => byte.charCodeAt(0));
}

/**
 * @param {Int8Array} a
 * @param {Int8Array} b
 */
function cosine(a, b) {
  let [both, left, right] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    both += a[i] * b[i];
    left += a[i] ** 2;
    right += b[i] ** 2;
  }
  return both / Math.sqrt(left * right);
}

/** Shows the view. */
async function showCompare() {
  const wanted = state;
  const box = at("view-compare");
  try {
    if (about.n_latents < 2) throw new Error("This run has one latent, so there is no other.");
    const one = wanted.one ?? shown[0] ?? 0;
    const first = await dataOf(one);
    const two = wanted.two ?? first.neighbours[0] ?? (one ? 0 : 1);
    const second = await dataOf(two);
    const directions = await Promise.all([one, two].map(directionOf));
    if (state.view !== "compare" || state.one !== wanted.one || state.two !== wanted.two) return;
    const sides = [
      { latent: one, data: first, key: "a" },
      { latent: two, data: second, key: "b" },
    ];
    const old = box.contains(document.activeElement) && document.activeElement;
    box.replaceChildren(
      compareForm(sides),
      compareFacts(sides, cosine(directions[0], directions[1])),
      ...compareImages(sides),
      compareFigures(sides),
    );
    if (old instanceof HTMLElement && old.id) document.getElementById(old.id)?.focus();
  } catch (error) {
    failIn("view-compare", error);
  }
}

/** What the view shows. */
const compareMeaning = () =>
  "Two latents side by side: blue is left, orange is right. Bars below images are activations: " +
  "full is the largest anywhere of each latent.";

/** @typedef {{ latent: number, data: LatentData, key: string }} Compared */

/**
 * The fields for both latents, and those that are near the first one.
 * @param {Compared[]} sides
 */
function compareForm([a, b]) {
  const fields = [a, b].map((side, i) => {
    const input = make("input", {
      id: `c-${side.key}-latent`,
      type: "text",
      value: String(side.latent),
      "aria-label": `Latent on the ${i ? "right" : "left"}`,
    });
    input.inputMode = "numeric";
    input.addEventListener("change", () => {
      const latent = Number(input.value);
      const known = /^\d+$/.test(input.value.trim()) && latent < about.n_latents;
      input.setAttribute("aria-invalid", String(!known));
      const limit = about.n_latents - 1;
      const said = `The number of a latent is 0 to ${limit}, not ${clipped(input.value)}.`;
      at("refused").textContent = known ? "" : plain(said);
      if (known) go({ one: a.latent, two: b.latent, [i ? "two" : "one"]: latent });
    });
    return make("label", { class: `side-field of-${side.key}` }, "Latent ", input);
  });
  const swap = make(
    "button",
    {
      type: "button",
      id: "c-swap-latents",
      class: "icon",
      "aria-label": "Swap the sides",
      onclick: () => go({ one: b.latent, two: a.latent }),
    },
    "⇄",
  );
  const near = [...new Set([...a.data.neighbours, ...a.data.partners.map(([other]) => other)])];
  const links = near.map((other) =>
    make(
      "button",
      {
        type: "button",
        id: `c-near-${other}`,
        "aria-pressed": String(other === b.latent),
        onclick: () => go({ one: a.latent, two: other }),
      },
      String(other),
    ),
  );
  const group = { class: "segments", role: "group", "aria-label": `Near latent ${a.latent}` };
  const chips = make(
    "div",
    { class: "near-first" },
    "near the first: ",
    make("div", group, ...links),
  );
  return make(
    "div",
    { class: "versus-form" },
    fields[0],
    swap,
    fields[1],
    near.length ? chips : null,
  );
}

/**
 * How alike the two are.
 * @param {Compared[]} sides
 * @param {number} cos cosine of their directions
 */
function compareFacts([a, b], cos) {
  const tops = [a, b].map(({ data }) =>
    data.rows.slice(0, about.top_images).filter((row) => row >= 0),
  );
  const both = tops[0].filter((row) => tops[1].includes(row)).length;
  const fewer = Math.min(tops[0].length, tops[1].length);
  const partner = a.data.partners.find(([other]) => other === b.latent);
  const back = b.data.partners.find(([other]) => other === a.latent);
  const [, pmi, n] = partner ?? back ?? [];
  const isMeasured = about.evaluation?.columns.includes("pmi");
  const seldom = isMeasured ? "not among their strongest partners" : "not measured";
  const cosineMeans =
    "of the decoder directions: 1 is the same direction, 0 is unrelated. From one byte for each " +
    "component: off by about 0.001";
  const togetherMeans =
    "PMI in nats, and the vectors on which both fire: 0 is independent, 0.7 twice as often as " +
    "chance. An evaluation with `coactivation` measures it, for the 8 strongest partners of each";
  return make(
    "dl",
    { class: "tiles" },
    entry("cosine", cos.toFixed(2), cosineMeans),
    entry("shared top images", `${both} of ${fewer}`, "of the strongest images of both"),
    entry(
      "fire together",
      pmi === undefined ? missing : `${number(pmi)} · ${count(n)}`,
      togetherMeans,
      pmi === undefined ? seldom : null,
    ),
  );
}

/**
 * The figures of both latents beside each other.
 * @param {Compared[]} sides
 */
function compareFigures([a, b]) {
  const columns = [...about.tiles, ...about.label_table.filter(() => state.label)]
    .map(({ column }) => columnOf(column))
    .filter((column, i, all) => all.indexOf(column) === i);
  const rows = columns.map((column) => [
    term(column.title, column.meaning),
    ...[a, b].map(({ latent }) => {
      const text = written(column, latent, state.label);
      return column.format === "text" ? inOneLine(text) : text;
    }),
  ]);
  const heads = [a, b].map(({ latent }) => /** @type {[string]} */ ([`latent ${latent}`]));
  return table("Figures", [[""], ...heads], rows);
}

/**
 * The images that both have, and the strongest of each.
 * @param {Compared[]} sides
 */
function compareImages([a, b]) {
  const [left, right] = [a, b].map(({ latent, data }) => firingImages(latent, data));
  const both = [...left.keys()].filter((row) => right.has(row));
  const shared = both.map((row) => {
    const found = [left, right].map((of) => of.get(row) ?? { part: 0, patch: -1 });
    const key = a.data.key(row);
    const [said, other] = found.map(({ part }) => percent(part));
    const spoken = `${said} of the largest of ${a.latent}, ${other} of that of ${b.latent}`;
    return make(
      "a",
      {
        href: address({ row, latent: null }),
        onclick: opens({ row }),
        "aria-label": `${clipped(key)}: ${spoken}`,
      },
      framedTwice(row, found),
      ...found.map(({ part }, i) => activationBar(part, `of-${"ab"[i]}`)),
    );
  });
  const none = make("p", { class: "soft" }, "None of the images on their pages is on both.");
  const halves = [a, b].map((side, i) => {
    const { latent, key } = side;
    const called = nameOf(latent, state.label);
    const link = latentLink("compare", latent);
    const own = [...(i ? right : left)].slice(0, COMPARED_IMAGES);
    return make(
      "section",
      { class: `half of-${key}`, "aria-label": `Latent ${latent}` },
      make(
        "div",
        { class: "versus-head" },
        make("h2", {}, link),
        called === null ? null : inOneLine(called, "soft"),
        badges(latent, state.label),
      ),
      make(
        "div",
        { class: "side-images" },
        ...own.map(([row, image]) => sideImage({ row, key: side.data.key(row), ...image })),
      ),
    );
  });
  const meaning =
    "images on the pages of both on which both fire. The bars are the activations of the left " +
    "and of the right latent: full is the largest anywhere of each";
  return [
    make(
      "section",
      { class: "shared", "aria-label": "Shared images" },
      make("h2", {}, term(`Images on both pages: ${count(both.length)}`, meaning)),
      both.length ? make("div", { class: "side-images" }, ...shared) : none,
    ),
    make("div", { class: "halves" }, ...halves),
  ];
}

/**
 * An image with a frame for each latent, on the patch where it is strongest.
 * @param {number} row
 * @param {{ patch: number }[]} found
 */
function framedTwice(row, found) {
  const image = make("img", { src: thumbnailName(row), alt: "", loading: "lazy" });
  const box = make("span", { class: "picture" }, image);
  found.forEach(({ patch }, i) => {
    if (about.grid && patch >= 0 && state.heat !== "off")
      box.append(frameOn(image, about.grid, patch, `of-${"ab"[i]}`));
  });
  return box;
}

/**
 * Opens the comparison of a latent with the nearest one. The back button leads to the latent.
 * @param {number} latent
 */
const openCompare = (latent) =>
  visit({ view: "compare", one: latent, two: null, latent: null, row: null });

/** @param {number} latent */
function revealCompared(latent) {
  document.getElementById(`compare-${latent}`)?.focus({ preventScroll: true });
}
