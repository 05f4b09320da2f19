// Around the map: what its axes are, the menus and buttons that choose, and what is said.

/** @param {string} figure */
const axisOf = (figure) =>
  /** @type {Axis} */ ([...axes(), ...planeAxes()].find(({ key }) => key === figure));

/** By what the map can place latents: values of the state, and titles. */
const placings = () => [
  ["figures", "Figures"],
  ...(planeAxes().length ? [["directions", "Directions"]] : []),
];

const isPlane = () => state.places === "directions";

/** The figures across the map and up. */
const mapAxes = () => (isPlane() ? PLANE : [state.x, state.y]);

/** What the points of the map are. */
function mapMeaning() {
  if (isPlane()) {
    return (
      "Each point is a latent of the list. Latents that lie together have similar decoder " +
      "directions (t-SNE, by cosine). Distances further apart mean little, and neighbours can be " +
      "torn apart: lines lead to the nearest directions as they are."
    );
  }
  const [across, up] = [state.x, state.y].map((figure) => {
    const column = about.columns.find((one) =>
      one.of_label ? figure.startsWith(`${one.name}.`) : figure === one.name,
    );
    return `${axisOf(figure).title} (${column?.meaning})`;
  });
  return `Each point is a latent of the list. Across: ${across}. Up: ${up}.`;
}

/** Buttons that choose what the map shows and how to select. */
function mapTools() {
  const placing = placings().map(([places, title]) => ({
    title,
    chosen: state.places === places,
    change: { places },
  }));
  const drawing = ["Rectangle", "Lasso"].map((title, i) => ({
    title,
    chosen: state.lasso === (i === 1),
    change: { lasso: i === 1 },
  }));
  return [
    ...(placing.length > 1 ? [segments("By what latents are placed", placing)] : []),
    segments("What is drawn to select", drawing),
  ];
}

/** Menus of what the axes show. */
function axisMenus() {
  const options = axes().map(({ key, title }) => [key, title]);
  return /** @type {const} */ (["x", "y"]).map((axis) => {
    const spoken = axis === "x" ? "Across" : "Up";
    const menu = choose(axis, options, spoken, (value) => ({ [axis]: value }), go);
    menu.value = state[axis];
    return make("label", {}, spoken, menu);
  });
}

/**
 * Which latents have no place on the map, in words.
 * @param {number} missed how many of those that pass the filters
 */
function missedOnMap(missed) {
  const { n_dead } = about.summary.all;
  if (!shown.length) return "No latent passes these filters.";
  if (isPlane()) return n_dead ? `${count(n_dead)} dead latents are left out.` : "";
  return missed
    ? `${count(missed)} latents have no place here: a figure is missing, or is 0 on a log scale.`
    : "";
}

/**
 * The shapes that are on the map, with what they mean.
 * @param {[Kind, number][]} counts
 * @param {number} hidden how many latents the filters hide
 */
function mapLegend(counts, hidden) {
  const lines = counts
    .filter(([, n]) => n)
    .reverse()
    .map(([kind, n]) => {
      const shape = draw("path", { d: marks[kind].path, class: `mark ${kind}` });
      const drawing = draw("svg", { viewBox: "-2 -2 4 4", "aria-hidden": "true" }, shape);
      return make("li", {}, drawing, marks[kind].title, make("span", { class: "soft" }, count(n)));
    });
  const sign = make("i", {});
  const rest = make(
    "li",
    {},
    sign,
    "hidden by the filters",
    make("span", { class: "soft" }, count(hidden)),
  );
  return [make("ul", {}, ...lines, ...(hidden ? [rest] : []))];
}
