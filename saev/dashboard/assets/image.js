// The page of one image: which latents fire on it.

/**
 * An image of the page, by its row; null if the page has no such image.
 * @param {number} row
 */
async function imageOf(row) {
  await load("data/names.js");
  const { rows, keys } = /** @type {ImageNames} */ (saevData.names);
  const place = rows.indexOf(row);
  if (place < 0) return null;
  const n = Math.floor(place / about.block);
  const i = place % about.block;
  await loadPart(`data/images/${padded(n / about.folder, 3)}/${padded(n, 5)}.js`, `images ${n}`);
  const block = /** @type {ImageBlock} */ (saevData[`images ${n}`]);
  return {
    row,
    key: keys[place],
    labels: block.labels[i],
    latents: block.latents[i],
    values: block.values[i],
    patches: block.patches[i],
    n: block.n_latents[i],
  };
}

/** @typedef {NonNullable<Awaited<ReturnType<typeof imageOf>>>} ShownImage */

/** Shows the open image, if there is one. */
async function showImage() {
  const { row } = state;
  if (row === null) return;
  const image = await imageOf(row).catch((error) => {
    fail(error);
    return null;
  });
  if (row !== state.row) return;
  leaveList();
  const page = at("image");
  at("latent").hidden = true;
  page.hidden = false;
  document.title = plain(`${image?.key ?? `Image ${row}`} · saev`);
  page.replaceChildren(imageBar(image, row));
  if (image) page.append(imageBody(image));
  else page.append(make("p", { class: "nothing" }, "No latent shows this image."));
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
    make("span", { class: "soft number push" }, `row ${row}`),
  );
}

/** @param {ShownImage} image */
function imageBody(image) {
  const view = { ...state, heat: cardMode(state) };
  const data = { rows: [image.row], values: image.values, patches: [-1], key: () => image.key };
  const big = make("div", { class: "big" });
  /** @param {number} patch */
  const look = (patch) =>
    big.replaceChildren(largeImage(0, { ...data, patches: [patch] }, null, view));
  look(-1);
  const lines = image.latents.map((latent, i) => imageLatent(latent, i, image, view, look));
  const few = image.n > lines.length ? `, the ${count(lines.length)} strongest of them below` : "";
  const heading = `${count(image.n)} latents fire on it${few}`;
  const hint = about.grid ? "The frame shows where the latent that you point at is strongest." : "";
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
    topStrip(latent, view, 6),
    badges(latent, view.label),
  );
  const frame = () => look(image.patches[i] ?? -1);
  link.addEventListener("pointerenter", frame);
  link.addEventListener("focus", frame);
  return make("li", {}, link);
}

/**
 * Images whose names have the text that the reader looks for, as links to their pages.
 * @param {string} text
 */
function imagesFound(text) {
  const wanted = text.trim().toLowerCase();
  const box = at("images-found");
  box.replaceChildren();
  if (!wanted || !namesRead) return;
  const { rows, keys } = /** @type {ImageNames} */ (saevData.names);
  const places = keys.flatMap((key, i) => (key.toLowerCase().includes(wanted) ? [i] : []));
  if (!places.length) return;
  const links = places.slice(0, 12).map((place) =>
    make(
      "a",
      {
        href: address({ row: rows[place], latent: null }),
        onclick: (click) => {
          if (click.ctrlKey || click.metaKey || click.shiftKey) return;
          click.preventDefault();
          openImage(rows[place]);
        },
      },
      make("img", { src: thumbnailName(rows[place]), alt: "", loading: "lazy" }),
      inOneLine(keys[place]),
    ),
  );
  const n = places.length;
  const more = n > links.length ? `, the first ${count(links.length)} of them` : "";
  box.append(make("h2", {}, `${count(n)} ${n === 1 ? "image" : "images"}${more}`), ...links);
}
