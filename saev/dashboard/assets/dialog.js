// The dialog that shows one latent.

const dialog = () => /** @type {HTMLDialogElement} */ (at("dialog"));

/**
 * Goes to the latent that is `by` places further in the list.
 * @param {number} by
 */
function step(by) {
  const i = shown.indexOf(Number(state.latent)) + by;
  if (i >= by && shown[i] !== undefined) go({ latent: shown[i], page: Math.floor(i / PAGE) });
}

/** Opens, fills or closes the dialog, depending on the state. */
async function detail() {
  const { latent } = state;
  if (latent === null) {
    if (dialog().open) dialog().close();
    return;
  }
  const wanted = Promise.all([dataOf(latent), state.heat === "off" ? null : heatOf(latent)]);
  const [data, heat] = await wanted.catch((error) => {
    fail(error);
    return [];
  });
  if (!data || latent !== state.latent) return;
  const grid = topImages(data, heat ?? null, state);
  const legend = heatLegend(state, go);
  if (dialog().open && dialog().dataset.latent === String(latent)) refresh(grid, legend);
  else fill(latent, data, grid, legend);
  Object.assign(dialog().dataset, { latent, heat: state.heat });
}

/**
 * Changes only the overlay, so that focus and scroll position stay.
 * @param {HTMLElement} grid
 * @param {HTMLElement | null} legend
 */
function refresh(grid, legend) {
  dialog().querySelector(".grid")?.replaceWith(grid);
  // Keep the slider too, because the reader may be moving it.
  if (dialog().dataset.heat === state.heat) return;
  dialog()
    .querySelector(".overlay")
    ?.replaceChildren(...(legend ? [legend] : []));
}

/**
 * @param {number} latent
 * @param {LatentData} data
 * @param {HTMLElement} grid
 * @param {HTMLElement | null} legend
 */
function fill(latent, data, grid, legend) {
  const images = make("div", { class: "overlay" }, legend);
  const bins = make("h3", {}, "Activations where it fires (log scale)");
  dialog().replaceChildren(
    bar(latent),
    make(
      "div",
      { class: "columns" },
      make("section", { "aria-label": "Top images" }, images, grid),
      make(
        "div",
        { class: "side" },
        tiles(latent, state),
        labelTable(latent),
        make("section", {}, bins, histogram(data.histogram)),
        neighbours(data, state),
      ),
    ),
  );
  if (!dialog().open) dialog().showModal();
  dialog().scrollTop = 0;
  dialog().querySelector("h2")?.focus();
}

/** @param {number} latent */
function bar(latent) {
  const i = shown.indexOf(latent);
  /**
   * @param {string} text
   * @param {string} title
   * @param {boolean} disabled
   * @param {() => void} does
   */
  const button = (text, title, disabled, does) =>
    make(
      "button",
      { type: "button", class: "icon", "aria-label": title, disabled, onclick: does },
      text,
    );
  const place = i < 0 ? "hidden by the filters" : `${count(i + 1)} of ${count(shown.length)}`;
  const last = i < 0 || i + 1 >= shown.length;
  return make(
    "div",
    { class: "bar" },
    make("h2", { tabIndex: -1, autofocus: true }, `Latent ${latent}`),
    make("span", { class: "soft top-label" }, nameOf(latent, state.label) ?? ""),
    make("span", { class: "soft number push" }, place),
    button("←", "Previous latent (left arrow)", i <= 0, () => step(-1)),
    button("→", "Next latent (right arrow)", last, () => step(1)),
    button("✕", "Close (Esc)", false, closeLatent),
  );
}
