// The controls of the list. They are made only once, so that none loses the focus while in use.

/**
 * What the reader has typed or chosen.
 * @param {Event} change
 */
const typed = (change) => /** @type {HTMLInputElement | HTMLSelectElement} */ (change.target).value;

/** @param {...Child} inputs */
const joined = (...inputs) => make("div", { class: "joined" }, ...inputs);

/**
 * @param {string} key of the state
 * @param {string[][]} options values and texts
 * @param {string} spoken
 * @param {(value: string) => Partial<State>} change
 * @param {(change: Partial<State>) => void} [apply]
 */
function choose(key, options, spoken, change, apply = restart) {
  return make(
    "select",
    {
      id: `c-${key}`,
      "aria-label": spoken,
      onchange: (choice) => apply(change(typed(choice))),
    },
    ...options.map(([value, text]) => make("option", { value }, text)),
  );
}

/** @param {Filter} filter */
function boundInput(filter) {
  const { key, spoken, title, highest } = filter;
  const input = make("input", { id: `c-${key}`, type: "text", "aria-label": spoken });
  input.inputMode = "decimal";
  input.addEventListener("input", () => {
    const value = bound(filter, input.value);
    input.setAttribute("aria-invalid", String(value === null));
    const most = highest === null ? "0 or more" : `0 to ${highest}`;
    const shares = highest === 1 ? ", or a percentage up to 100" : "";
    at("refused").textContent =
      value === null ? plain(`${title} takes ${most}${shares}, not ${clipped(input.value)}.`) : "";
    if (value !== null) restart({ bounds: { ...state.bounds, [key]: value } });
  });
  input.addEventListener("blur", () => {
    input.setAttribute("aria-invalid", "false");
    at("refused").textContent = "";
    input.value = String(state.bounds[key]);
  });
  return input;
}

/** A field for each filter. Filters with the same title share a field. */
function filterFields() {
  const titles = new Set(about.filters.map((filter) => filter.title));
  return [...titles].map((title) => {
    const filters = about.filters.filter((filter) => filter.title === title);
    const [{ meaning }] = filters;
    const bounds = filters.map(boundInput);
    const inputs = bounds.length === 1 ? bounds[0] : joined(...bounds);
    return make("div", { class: "field" }, term(title, meaning), inputs);
  });
}

/**
 * The key of the order that sorts by the same figure, for another label.
 * @param {string} sort
 * @param {string} label
 */
function sortedBy(sort, label) {
  const column = about.columns.find((one) => one.of_label && keyOf(one, state.label) === sort);
  return column ? keyOf(column, label) : sort;
}

/** Makes the line of controls, and connects them to the state. */
function controls() {
  const options = orders().map((order) => [order.key, order.title]);
  const sort = choose("sort", options, "Sort by", (value) => ({
    sort: value,
    down: !orders().some((order) => order.key === value && order.rising),
  }));
  const turn = make("button", {
    id: "c-down",
    type: "button",
    class: "icon",
    onclick: () => restart({ down: !state.down }),
  });
  const meaning = make("button", {
    type: "button",
    class: "icon",
    "aria-label": "What this order is",
  });
  meaning.textContent = "?";
  meaning.addEventListener("click", () => explain(meaning, orderMeaning()));
  const search = make("input", {
    id: "c-find",
    type: "search",
    placeholder: about.labels.length ? "Find label, file or number" : "Find file or number",
    "aria-label": "Find a label, the name of an image, or a number",
    oninput: (input) => restart({ find: typed(input) }),
    onkeydown: (press) => {
      if (press.key === "Enter" && shown.length) openLatent(shown[0]);
    },
  });
  const labels = about.labels.map((text) => [text, text]);
  const label = choose("label", labels, "Label", (value) => ({
    label: value,
    sort: sortedBy(state.sort, value),
    x: sortedBy(state.x, value),
    y: sortedBy(state.y, value),
  }));
  const preset = choose("preset", presets, "Preset of filters", (value) => ({ preset: value }));
  const random = make(
    "button",
    {
      id: "c-random",
      type: "button",
      onclick: () => openLatent(shown[Math.floor(Math.random() * shown.length)]),
    },
    "Random",
  );
  const of2024 =
    "2024: frequency above 1 in 10,000, mean of the top activations above 0.2, " +
    "at least ten labelled images";
  const filters = make(
    "div",
    { class: "filters", id: "filters", hidden: true },
    ...filterFields(),
    make("div", { class: "field" }, term("Preset", of2024), preset),
    make(
      "button",
      { id: "reset", type: "button", class: "quiet", onclick: reset },
      "Reset filters",
    ),
  );
  const toggle = make(
    "button",
    { id: "c-filters", type: "button", "aria-expanded": "false", "aria-controls": "filters" },
    "Filters",
  );
  toggle.addEventListener("click", () => {
    filters.hidden = !filters.hidden;
    toggle.setAttribute("aria-expanded", String(!filters.hidden));
  });
  at("controls").append(
    viewButtons(),
    search,
    joined(sort, turn, meaning),
    ...(about.labels.length > 1 ? [label] : []),
    toggle,
    random,
    filters,
  );
  const brush = make("button", { type: "button", id: "brushed", onclick: unbrush });
  const all = { key: "", title: "All", meaning: "all latents" };
  const noted = {
    key: "noted",
    title: "★",
    meaning: "latents that are starred, named or noted, and starred images",
  };
  at("chips").append(...[all, ...about.chips, noted].map(chip));
  at("chips").after(brush);
  const figuresMean = make("button", { type: "button", class: "quiet" }, "Legend");
  figuresMean.addEventListener("click", () => explain(figuresMean, viewNow().legend()));
  at("figures-mean").append(figuresMean);
}

/** Lists the latents outside of what was drawn on the map too. */
const unbrush = () => restart({ brush: "" });

function reset() {
  restart(filtersOf(usual()));
}

function orderMeaning() {
  const column = about.columns.find((one) => keyOf(one, state.label) === state.sort);
  const aside = about.labels.length || state.sort !== orders()[0].key;
  const last = aside ? "" : " Positional and dense latents come last.";
  return `${column?.title ?? ""}: ${column?.meaning || "the number of the latent"}.${last}`;
}

/**
 * A button that shows some latents only. Those on few or no images are shown whatever the filter of
 * images says.
 * @param {{ key: string, title: string, meaning: string }} one
 */
function chip({ key, title, meaning }) {
  const bounds = () => ({
    ...state.bounds,
    min: ["rare", "dead", "noted"].includes(key) ? 0 : usual().bounds.min,
  });
  const apply = () => restart({ chip: key, bounds: bounds() });
  return make("button", { type: "button", value: key, title: meaning, onclick: apply }, title);
}

/** @param {string} place */
function pager(place) {
  /** @param {number} by */
  const turn = (by) => {
    // First, as cards that can be seen get their images first.
    at("list").scrollIntoView();
    go({ page: state.page + by });
  };
  /**
   * @param {string} text
   * @param {string} spoken
   * @param {number} by
   */
  const button = (text, spoken, by) =>
    make(
      "button",
      { type: "button", class: "icon", "aria-label": spoken, onclick: () => turn(by) },
      text,
    );
  return make(
    "nav",
    { class: "pager", "aria-label": `Pages, ${place}` },
    button("‹", "Previous page", -1),
    make("span", { class: "number" }),
    button("›", "Next page", 1),
  );
}

/** Updates the controls, the counts next to them and the pagers from the state. */
function showState() {
  const { bounds, down, ...fields } = state;
  for (const [key, value] of Object.entries({ ...fields, ...bounds })) {
    const input = document.querySelector(`#c-${key}`);
    if (input && input !== document.activeElement) Object.assign(input, { value });
  }
  for (const one of at("views").querySelectorAll("button")) {
    one.setAttribute("aria-pressed", String(one.value === state.view));
  }
  at("c-down").textContent = down ? "↓" : "↑";
  const order = down ? "Highest first. Click to reverse" : "Lowest first. Click to reverse";
  at("c-down").setAttribute("aria-label", order);
  Object.assign(at("c-random"), { disabled: !shown.length });
  for (const one of at("chips").querySelectorAll("button")) {
    one.setAttribute("aria-pressed", String(one.value === state.chip));
  }
  const { n_dead } = about.summary.all;
  const hidden = about.n_latents - shown.length;
  const images = numbers("image_count", state.label);
  const deadHidden = n_dead - shown.filter((latent) => !images[latent]).length;
  const dead = deadHidden && bounds.min > 0 ? ` (${count(deadHidden)} dead)` : "";
  at("found").replaceChildren(
    make("b", {}, count(shown.length)),
    ` of ${count(about.n_latents)} latents`,
    hidden ? `, ${count(hidden)} hidden${dead}` : "",
  );
  at("brushed").hidden = !state.brush;
  at("brushed").replaceChildren(inOneLine(selectionSaid()), "✕");
  at("brushed").setAttribute(
    "aria-label",
    plain(`Drop the selection on the map: ${selectionSaid()}`),
  );
  at("reset").hidden = filtersAreUsual();
  at("c-filters").classList.toggle("active", !filtersAreUsual());
  const pages = Math.max(1, Math.ceil(shown.length / PAGE));
  for (const nav of document.querySelectorAll(".pager")) {
    const [before, text, next] = nav.children;
    Object.assign(before, { disabled: state.page <= 0 });
    Object.assign(next, { disabled: state.page + 1 >= pages });
    text.textContent = `${count(state.page + 1)} / ${count(pages)}`;
  }
}
