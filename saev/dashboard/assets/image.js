// The page of one image: which latents fire on it.

/**
 * The images of a block, in the order of their rows.
 * @param {number} n
 */
async function imagesOf(n) {
  await load("data/names.js", "names");
  await loadPart(`data/images/${padded(n / about.folder, 3)}/${padded(n, 5)}.js`, `images ${n}`);
  const { rows, keys } = /** @type {ImageNames} */ (saevData.names);
  const block = /** @type {ImageBlock} */ (saevData[`images ${n}`]);
  return block.latents.map((latents, i) => ({
    row: rows[n * about.block + i],
    key: keys[n * about.block + i],
    labels: block.labels[i],
    latents,
    values: block.values[i],
    patches: block.patches[i],
    n: block.n_latents[i],
  }));
}

/**
 * An image of the page, by its row; null if the page has no such image.
 * @param {number} row
 */
async function imageOf(row) {
  await load("data/names.js", "names");
  const { rows } = /** @type {ImageNames} */ (saevData.names);
  const place = rows.indexOf(row);
  return place < 0 ? null : (await imagesOf(Math.floor(place / about.block)))[place % about.block];
}

/** @typedef {Awaited<ReturnType<typeof imagesOf>>[number]} ShownImage */

/** Shows the open image, if there is one. */
async function showImage() {
  const { row } = state;
  if (row === null) return;
  let body = make("p", { class: "nothing" }, "No latent shows this image.");
  const image = await imageOf(row).catch((error) => {
    body = alertOf(error);
    return null;
  });
  if (row !== state.row) return;
  leaveList();
  const page = at("image");
  at("latent").hidden = true;
  page.hidden = false;
  document.title = plain(`${image?.key ?? `Image ${row}`} · saev`);
  page.replaceChildren(imageBar(image, row), image ? imageBody(image) : body);
  window.scrollTo(0, 0);
  page.querySelector("h2")?.focus({ preventScroll: true });
}

/**
 * @param {ShownImage | null} image
 * @param {number} row
 */
function imageBar(image, row) {
  const leave = make(
    "button",
    { type: "button", class: "icon", "aria-label": "Back to the list (Esc)", onclick: closeLatent },
    `← ${viewNow().title}`,
  );
  const title = image ? inOneLine(image.key) : `Image ${row}`;
  const labels = (image?.labels ?? []).filter((text) => text !== null).join(" · ");
  return make(
    "div",
    { class: "bar" },
    leave,
    make("h2", { tabIndex: -1, class: "top-label" }, title),
    labels ? inOneLine(labels, "soft") : null,
    image ? imageStar(row, image.key) : null,
    image
      ? make("button", { type: "button", onclick: () => openImage(anyImage()) }, "Random image")
      : null,
    make("span", { class: "soft number push" }, `row ${row}`),
  );
}

/** The row of an image of the page, drawn at random. Their names must have been read. */
function anyImage() {
  const { rows } = /** @type {ImageNames} */ (saevData.names);
  return rows[Math.floor(Math.random() * rows.length)];
}

/**
 * Marks the latents that are strongest on the patch of the image that the pointer is on.
 * @param {HTMLElement} big what holds the image
 * @param {ShownImage} image
 * @param {HTMLElement[]} lines those of the latents
 */
function markWherePointed(big, image, lines) {
  if (!about.grid) return;
  const [height, width] = about.grid;
  /** @param {number} patch */
  const mark = (patch) =>
    lines.forEach((line, i) => line.classList.toggle("here", image.patches[i] === patch));
  big.addEventListener("pointermove", ({ clientX, clientY }) => {
    const picture = big.querySelector("img");
    if (!picture) return;
    const box = picture.getBoundingClientRect();
    const scale = Math.max(picture.naturalWidth, picture.naturalHeight) || 1;
    /**
     * @param {number} place 0 to 1 along the box, in the middle of which the image is
     * @param {number} part of the box that the image takes
     * @param {number} cells
     */
    const cell = (place, part, cells) => Math.floor(((place - 0.5) / part + 0.5) * cells);
    const column = cell((clientX - box.left) / box.width, picture.naturalWidth / scale, width);
    const line = cell((clientY - box.top) / box.height, picture.naturalHeight / scale, height);
    mark(column >= 0 && column < width ? line * width + column : -1);
  });
  big.addEventListener("pointerleave", () => mark(-1));
}

/** @param {ShownImage} image */
function imageBody(image) {
  const view = state;
  const data = { rows: [image.row], values: image.values, patches: [-1], key: () => image.key };
  const big = make("div", { class: "big" });
  /** @param {number} patch */
  const look = (patch) =>
    big.replaceChildren(largeImage(0, { ...data, patches: [patch] }, null, view));
  look(-1);
  const lines = image.latents.map((latent, i) => imageLatent(latent, i, image, view, look));
  markWherePointed(big, image, lines);
  const few = image.n > lines.length ? `, the ${count(lines.length)} strongest of them below` : "";
  const fire = image.n === 1 ? "latent fires" : "latents fire";
  const heading = `${count(image.n)} ${fire} on it${few}`;
  const hint = about.grid
    ? "Point at a latent: a frame shows where it is strongest. Point at a patch: the latents " +
      "that are strongest there are marked."
    : "";
  return make(
    "div",
    { class: "columns of-image" },
    make("section", { "aria-label": "Image" }, big, make("p", { class: "soft" }, hint)),
    make(
      "section",
      { "aria-label": "Its latents" },
      make("h3", {}, heading),
      make("ol", { class: "image-latents" }, ...lines),
    ),
  );
}

/**
 * A latent of an image: its activation there, and its own top images.
 * @param {number} latent
 * @param {number} i its place among the latents of the image
 * @param {ShownImage} image
 * @param {State} view
 * @param {(patch: number) => void} look frames a patch of the large image
 */
function imageLatent(latent, i, image, view, look) {
  const value = Number(image.values[i]);
  const part = value / Number(numbers("max_activation", view.label)[latent]);
  const called = nameOf(latent, view.label);
  const link = make(
    "a",
    {
      href: address({ latent, row: null }),
      onclick: (click) => {
        if (click.ctrlKey || click.metaKey || click.shiftKey) return;
        click.preventDefault();
        openLatent(latent);
      },
    },
    make("b", {}, `Latent ${latent}`),
    called === null ? null : inOneLine(called),
    make("span", { class: "soft number" }, `${number(value)}, ${percent(part)} of its largest`),
    topStrip(latent, 6),
    badges(latent, view.label),
  );
  const frame = () => look(image.patches[i] ?? -1);
  link.addEventListener("pointerenter", frame);
  link.addEventListener("focus", frame);
  return make("li", {}, link);
}

/**
 * Images whose names have the text that the reader looks for, as links to their pages. The chip of
 * the stars shows the starred ones.
 * @param {State} view
 */
function imagesFound({ find: text, chip: kind }) {
  const wanted = text.trim().toLowerCase();
  const box = at("images-found");
  box.replaceChildren();
  /** @type {[number, string][]} */
  let found = [];
  if (wanted && namesRead) {
    const { rows, keys } = /** @type {ImageNames} */ (saevData.names);
    found = keys.flatMap((key, i) => (key.toLowerCase().includes(wanted) ? [[rows[i], key]] : []));
  } else if (!wanted && kind === "noted") found = [...starredImages].sort(([a], [b]) => a - b);
  if (!found.length) return;
  const links = found
    .slice(0, wanted ? 12 : 60)
    .map(([row, key]) =>
      make(
        "a",
        { href: address({ row, latent: null }), onclick: opens({ row }) },
        make("img", { src: thumbnailName(row), alt: "", loading: "lazy" }),
        inOneLine(key),
      ),
    );
  const kinds = `${wanted ? "" : "starred "}${found.length === 1 ? "image" : "images"}`;
  const more = found.length > links.length ? `, the first ${count(links.length)} of them` : "";
  box.append(make("h2", {}, `${count(found.length)} ${kinds}${more}`), ...links);
}
