// The controls of the list. They are made only once, so that none loses the focus while in use.

/**
 * What the reader has typed or chosen.
 * @param {Event} change
 */
const typed = (change) => /** @type {HTMLInputElement | HTMLSelectElement} */ (change.target).value;

/**
 * @param {string} title
 * @param {string | null} help
 * @param {Child} control
 */
const field = (title, help, control) =>
  make("label", { title: help }, make("span", {}, title), control);

/**
 * A field with more than one control.
 * @param {string} title
 * @param {string | null} help
 * @param {...Child} inputs
 */
const joint = (title, help, ...inputs) =>
  make("div", { class: "field", title: help }, make("span", {}, title), ...inputs);

/** @param {...Child} inputs */
const joined = (...inputs) => make("div", { class: "joined" }, ...inputs);

/**
 * @param {string} key of the state
 * @param {string[][]} options values and texts
 * @param {string} spoken
 * @param {(value: string) => Partial<State>} change
 */
function choose(key, options, spoken, change) {
  return make(
    "select",
    {
      id: `c-${key}`,
      "aria-label": spoken,
      onchange: (choice) => restart(change(typed(choice))),
    },
    ...options.map(([value, text]) => make("option", { value }, text)),
  );
}

/** @param {Filter} filter */
function boundInput({ key, spoken, step: by, highest, usual: standard }) {
  return make("input", {
    id: `c-${key}`,
    type: "number",
    "aria-label": spoken,
    min: 0,
    max: highest,
    step: by ?? "any",
    oninput: (input) => {
      const value = typed(input) === "" ? standard : Number(typed(input));
      restart({ bounds: { ...state.bounds, [key]: value } });
    },
  });
}

/** A field for each filter. Filters with the same title share a field. */
function filterFields() {
  const titles = new Set(about.filters.map((filter) => filter.title));
  return [...titles].map((title) => {
    const filters = about.filters.filter((filter) => filter.title === title);
    const [{ meaning }] = filters;
    const bounds = filters.map(boundInput);
    return filters.length === 1
      ? field(title, meaning, bounds[0])
      : joint(title, meaning, joined(...bounds));
  });
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
  const search = make("input", {
    id: "c-find",
    type: "search",
    placeholder: about.labels.length ? "label or number" : "number",
    "aria-label": "Find a label or a number",
    oninput: (input) => restart({ find: typed(input) }),
    onkeydown: (press) => {
      if (press.key === "Enter" && shown.length) go({ latent: shown[0] });
    },
  });
  const labels = about.labels.map((text) => [text, text]);
  const label = choose("label", labels, "Label", (value) => ({ label: value }));
  const preset = choose("preset", presets, "Preset of filters", (value) => ({ preset: value }));
  const random = make(
    "button",
    {
      id: "c-random",
      type: "button",
      onclick: () => go({ latent: shown[Math.floor(Math.random() * shown.length)] }),
    },
    "Random",
  );
  const of2024 =
    "2024: frequency above 1 in 10,000, mean of the top activations above 0.2, " +
    "at least ten labelled images";
  const filters = make(
    "div",
    { class: "filters" },
    ...filterFields(),
    field("Preset", of2024, preset),
  );
  const several = about.labels.length > 1;
  at("controls").append(
    joint("Sort by", null, joined(sort, turn)),
    field("Find", null, search),
    ...(several ? [field("Label", "the label for cards and purity", label)] : []),
    make(
      "details",
      { id: "more", open: window.innerWidth > 720 },
      make("summary", {}, "Filters"),
      filters,
    ),
    joint("\u00a0", null, random),
  );
  at("reset").addEventListener("click", () => restart(filtersOf(usual())));
}

function pager() {
  /** @param {number} by */
  const turn = (by) => {
    go({ page: state.page + by });
    at("controls").scrollIntoView();
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
    { class: "pager", "aria-label": "Pages" },
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
  at("c-down").textContent = down ? "↓" : "↑";
  const order = down ? "Highest first. Click to reverse" : "Lowest first. Click to reverse";
  at("c-down").setAttribute("aria-label", order);
  Object.assign(at("c-random"), { disabled: !shown.length });
  const { n_dead } = about.summary.all;
  const hidden = about.n_latents - shown.length;
  const dead = n_dead && bounds.min > 0 ? ` (${count(n_dead)} dead)` : "";
  at("found").replaceChildren(
    make("b", {}, count(shown.length)),
    ` of ${count(about.n_latents)} latents`,
    hidden ? `, ${count(hidden)} hidden${dead}` : "",
  );
  at("reset").hidden = filtersAreUsual();
  const pages = Math.max(1, Math.ceil(shown.length / PAGE));
  for (const nav of document.querySelectorAll(".pager")) {
    const [before, text, next] = nav.children;
    Object.assign(before, { disabled: state.page <= 0 });
    Object.assign(next, { disabled: state.page + 1 >= pages });
    text.textContent = `${count(state.page + 1)} / ${count(pages)}`;
  }
}
