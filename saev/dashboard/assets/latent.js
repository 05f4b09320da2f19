// The page of one latent.

/**
 * Goes to the latent that is `by` places further in the list.
 * @param {number} by
 */
function step(by) {
  const i = shown.indexOf(Number(state.latent)) + by;
  if (i >= by && shown[i] !== undefined) go({ latent: shown[i], page: Math.floor(i / PAGE) });
}

// Where the list was when a latent was opened, and which latent is on the page.
let listScroll = 0;
let listPage = 0;
/** @type {number | null} */
let onPage = null;

/** Shows the open latent, or the list, depending on the state. */
async function showLatent() {
  const { latent } = state;
  if (latent === null) {
    if (state.row === null) showList();
    return;
  }
  /** @type {HTMLElement | null} */
  let lost = null;
  const maps = state.heat === "off" ? null : heatOf(latent);
  const withoutMaps = maps?.catch((error) => {
    lost = alertOf(error);
    return null;
  });
  const [data, heat] = await Promise.all([dataOf(latent), withoutMaps]).catch((error) => {
    showList();
    fail(error);
    return [];
  });
  if (!data || latent !== state.latent) return;
  const opened = at("latent").hidden;
  leaveList();
  at("image").hidden = true;
  at("latent").hidden = false;
  if (onPage === latent && !opened) refresh(latent, data, heat ?? null);
  else fill(latent, data, heat ?? null);
  at("latent").querySelector(".overlay + [role=alert]")?.remove();
  if (lost) at("latent").querySelector(".overlay")?.after(lost);
  if (opened) {
    window.scrollTo(0, 0);
    at("latent").querySelector("h2")?.focus({ preventScroll: true });
  }
  onPage = latent;
}

/** Hides the list, and remembers where it was. */
function leaveList() {
  if (at("list").hidden) return;
  [listScroll, listPage] = [window.scrollY, state.page];
  at("list").hidden = true;
}

/** Shows the list where it was. On another page of it, the latent that was open is in view. */
function showList() {
  if (!at("list").hidden) return;
  at("latent").hidden = true;
  at("image").hidden = true;
  at("list").hidden = false;
  document.title = plain(`${about.run.sae} · ${about.run.images} · saev`);
  window.scrollTo(0, listScroll);
  // A reader who is typing has left the latent by that.
  const typing = at("controls").contains(document.activeElement);
  if (onPage !== null && !typing) viewNow().reveal(onPage);
  onPage = null;
}

/**
 * Changes only what depends on how the latent is shown, so that focus and scroll position stay.
 * @param {number} latent
 * @param {LatentData} data
 * @param {Uint8Array | null} heat
 */
function refresh(latent, data, heat) {
  const page = at("latent");
  page.querySelector(".image-rows")?.replaceWith(imageRows(latent, data, heat, state));
  const plot = page.querySelector(".histogram svg");
  plot?.replaceWith(histogram(data.histogram, state.log));
  markBin();
  page.querySelector(".histogram button.quiet")?.setAttribute("aria-pressed", String(state.log));
  // Keep the slider too, because the reader may be moving it.
  if (page.dataset.heat === state.heat) return;
  page.dataset.heat = state.heat;
  const legend = heatLegend(state);
  page.querySelector(".overlay")?.replaceChildren(...(legend ? [legend] : []));
}

/**
 * @param {number} latent
 * @param {LatentData} data
 * @param {Uint8Array | null} heat
 */
function fill(latent, data, heat) {
  document.title = plain(`Latent ${latent} · ${about.run.sae} · saev`);
  at("latent").dataset.heat = state.heat;
  chosenBin = null;
  at("latent").replaceChildren(
    latentBar(latent),
    make(
      "div",
      { class: "columns" },
      make(
        "section",
        { "aria-label": "Images" },
        make("div", { class: "overlay" }, heatLegend(state)),
        imageRows(latent, data, heat, state),
      ),
      make(
        "div",
        { class: "side" },
        tiles(latent, state),
        evaluatedFigures(latent),
        firingLabels(latent, data, state),
        labelTable(latent),
        histogramOf(data, state),
        positionMap(latent, data),
        neighbours(data, state),
        partners(data, state),
        noteFields(latent),
      ),
    ),
  );
}

/** @param {number} latent */
function latentBar(latent) {
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
  const called = nameOf(latent, state.label);
  const said = state.label && texts("top_label", state.label)[latent];
  const given = [noteOf(latent).name, ...givenTo(latent).map((one) => one.name)].find(Boolean);
  const unnamed = given ? inOneLine(`✎ ${given}`) : said ? "no name" : "";
  return make(
    "div",
    { class: "bar" },
    button(`← ${viewNow().title}`, "Back to the list (Esc)", false, closeLatent),
    make("h2", { tabIndex: -1 }, `Latent ${latent}`),
    called === null ? make("span", { class: "soft" }, unnamed) : inOneLine(called, "top-label"),
    called === null ? null : make("span", { class: "soft number" }, evidence(latent, state.label)),
    badges(latent, state.label),
    starButton(latent),
    make("button", { type: "button", onclick: () => openCompare(latent) }, "Compare"),
    make("span", { class: "soft number push" }, place),
    button("←", "Previous latent (left arrow)", i <= 0, () => step(-1)),
    button("→", "Next latent (right arrow)", last, () => step(1)),
  );
}
