// What is selected on the map: the latents in a rectangle or in a lasso. It is part of the address,
// as JSON in the units of the axes, so it means the same in a window of any size.

/** @typedef {[figure: string, least: number, most: number]} Span */

/**
 * A line around latents: the figures of the axes, and its corners one after the other.
 * @typedef {{ x: string, y: string, corners: number[] }} Lasso
 */

/** A lasso has this many corners at most, so that addresses stay short. */
const CORNERS = 60;

/**
 * What a text stands for: the ranges of a rectangle, or a lasso.
 * @param {string} brush JSON
 * @returns {{ ranges: Span[], lasso: Lasso | null }} without any if the text is no selection
 */
function selectionOf(brush) {
  const none = { ranges: [], lasso: null };
  const known = [...axes(), ...planeAxes()].map(({ key }) => key);
  try {
    const found = JSON.parse(brush);
    if (Array.isArray(found)) {
      const isRanges = found.every(
        ([figure, ...ends]) =>
          known.includes(figure) && ends.length === 2 && ends.every(Number.isFinite),
      );
      return isRanges ? { ranges: found, lasso: null } : none;
    }
    const { x, y, corners } = found;
    const isLine =
      corners.length >= 6 && corners.length % 2 === 0 && corners.every(Number.isFinite);
    const isLasso = isLine && known.includes(x) && known.includes(y);
    return isLasso ? { ranges: [], lasso: { x, y, corners } } : none;
  } catch {
    return none;
  }
}

/** @param {string} brush */
function isSelection(brush) {
  const { ranges, lasso } = selectionOf(brush);
  return lasso !== null || ranges.length > 0;
}

/**
 * Whether a selection has a latent: one test for each of its parts.
 * @param {string} brush
 * @returns {((latent: number) => boolean)[]}
 */
function selects(brush) {
  const { ranges, lasso } = selectionOf(brush);
  return [...ranges.map(within), ...(lasso ? [insideLasso(lasso)] : [])];
}

/**
 * Whether a latent has a figure within a range.
 * @param {Span} range
 * @returns {(latent: number) => boolean}
 */
function within([figure, least, most]) {
  const values = /** @type {Numbers} */ (figures[figure]);
  return (latent) => {
    const value = values[latent];
    return !absent(value) && value >= least && value <= most;
  };
}

/**
 * Whether a latent lies inside a lasso. Its sides are straight on the map, so also on a log scale.
 * @param {Lasso} lasso
 * @returns {(latent: number) => boolean}
 */
function insideLasso({ x, y, corners }) {
  const [across, up] = [x, y].map((figure) => scaleOf(figure, 0, 1).place);
  const xs = corners.filter((_, i) => i % 2 === 0).map(across);
  const ys = corners.filter((_, i) => i % 2 === 1).map(up);
  return (latent) => {
    const [east, north] = [across(figures[x][latent]), up(figures[y][latent])];
    let isIn = false;
    // A ray from the point crosses the line an odd number of times.
    for (let i = 0, j = xs.length - 1; i < xs.length; j = i++) {
      if (ys[i] > north === ys[j] > north) continue;
      const crossing = xs[i] + ((xs[j] - xs[i]) * (north - ys[i])) / (ys[j] - ys[i]);
      if (east < crossing) isIn = !isIn;
    }
    return isIn;
  };
}

/**
 * A line with fewer corners, which lies within some pixels of it (Ramer 1972, Douglas and Peucker
 * 1973).
 * @param {number[][]} places in pixels
 * @param {number} pixels
 * @returns {number[][]}
 */
function simpler(places, pixels) {
  const [[x1, y1], [x2, y2]] = [places[0], places[places.length - 1]];
  const long = Math.hypot(x2 - x1, y2 - y1);
  const far = places.map(([x, y]) =>
    long
      ? Math.abs((x - x1) * (y2 - y1) - (y - y1) * (x2 - x1)) / long
      : Math.hypot(x - x1, y - y1),
  );
  const most = far.indexOf(Math.max(...far));
  if (far[most] <= pixels) return [places[0], places[places.length - 1]];
  const [before, after] = [places.slice(0, most + 1), places.slice(most)];
  return [...simpler(before, pixels), ...simpler(after, pixels).slice(1)];
}

/**
 * A line with few enough corners for an address.
 * @param {number[][]} places in pixels
 */
function shortLine(places) {
  let pixels = 1;
  let short = simpler(places, pixels);
  while (short.length > CORNERS) short = simpler(places, (pixels *= 2));
  return short;
}

/** @param {number} value as it stands in an address */
const inShort = (value) => Number(value.toPrecision(6));

/** What is selected, in words: "frequency 0.1 % to 2 %, lift × 2 to × 5". */
function selectionSaid() {
  const { ranges, lasso } = selectionOf(state.brush);
  const all = lasso ? [lasso.x, lasso.y] : ranges.map(([figure]) => figure);
  if (all.some((figure) => PLANE.includes(figure))) return "an area of similar directions";
  if (lasso) return `lasso on ${all.map((figure) => axisOf(figure).title).join(", ")}`;
  const parts = ranges.map(([figure, ...ends]) => {
    const { title, format } = axisOf(figure);
    return `${title} ${ends.map((end) => formats[format](end)).join(" to ")}`;
  });
  return parts.join(", ");
}
