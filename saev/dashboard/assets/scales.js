// The axes of the map: where values are, and which round values to write.

/** From which ratio of the largest to the smallest value on, an axis is on a log scale. */
const LOG_FROM = 10;

/** The room around the projection of directions, in pixels. */
const EDGE = 24;

/** @typedef {ReturnType<typeof axisScale>} Scale */

/**
 * Where the values of a figure are on an axis, from one pixel to another.
 * @param {string} figure a key of `axes`
 * @param {number} from
 * @param {number} to
 */
function scaleOf(figure, from, to) {
  const values = /** @type {Numbers} */ (figures[figure]);
  let [low, high, above] = [Infinity, -Infinity, Infinity];
  for (const value of values) {
    if (absent(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
    if (value > 0) above = Math.min(above, value);
  }
  const log = low >= 0 && high >= LOG_FROM * above;
  /** @param {number} value */
  const straight = (value) => (log ? Math.log(value) : value);
  const [first, last] = [straight(log ? above : low), straight(high)];
  const room = last > first ? 0.03 * (last - first) : 1;
  // Round values along the axis.
  const ticks = high < low ? [] : log ? powers(above, high) : steps(low, high);
  return axisScale(log, first - room, last + room, from, to, ticks);
}

/**
 * Where values are on an axis.
 * @param {boolean} log whether it is a log scale
 * @param {number} first the value at `from`, or its logarithm
 * @param {number} last that at `to`
 * @param {number} from a pixel
 * @param {number} to another one
 * @param {number[]} ticks round values along the axis
 */
function axisScale(log, first, last, from, to, ticks) {
  const each = (to - from) / (last - first);
  /** @param {number} value */
  const pixel = (value) => from + each * ((log ? Math.log(value) : value) - first);
  return {
    from,
    to,
    log,
    ticks,
    /** The place of a value; NaN if it is missing, or 0 on a log scale. @param {unknown} value */
    place: (value) => (typeof value !== "number" || (log && value <= 0) ? NaN : pixel(value)),
    /** The value at a place. @param {number} pixels */
    value: (pixels) => {
      const back = first + (pixels - from) / each;
      return log ? Math.exp(back) : back;
    },
  };
}

/**
 * The scales of the projection of directions: without values, and equal in both directions.
 * @param {number} width
 * @param {number} height
 */
function planeScales(width, height) {
  const ends = PLANE.map((figure) => {
    const values = /** @type {Float32Array} */ (figures[figure]).filter((place) => !absent(place));
    return values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [1, -1]);
  });
  const sizes = [width, height].map((size) => size - 2 * EDGE);
  const each = Math.max(...ends.map(([low, high], i) => Math.max(high - low, 0.01) / sizes[i]));
  return ends.map(([low, high], i) => {
    const [middle, half] = [(low + high) / 2, (each * sizes[i]) / 2];
    const [from, to] = i ? [sizes[i] + EDGE, EDGE] : [EDGE, sizes[i] + EDGE];
    return axisScale(false, middle - half, middle + half, from, to, []);
  });
}

/**
 * @param {number} low
 * @param {number} high
 */
function steps(low, high) {
  const rough = (high - low) / 5 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const each = power * Number([1, 2, 5, 10].find((factor) => factor * power >= rough));
  const first = Math.ceil(low / each);
  const size = Math.floor(high / each) - first + 1;
  const ticks = Array.from({ length: size }, (_, i) => (first + i) * each);
  return ticks.map((tick) => Number(tick.toPrecision(12)));
}

/**
 * @param {number} low
 * @param {number} high
 */
function powers(low, high) {
  const [first, last] = [low, high].map((value) => Math.floor(Math.log10(value)));
  const each = last - first > 2 ? [1] : [1, 2, 5];
  const all = Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
  return all
    .flatMap((power) => each.map((n) => Number((n * power).toPrecision(12))))
    .filter((tick) => tick >= low && tick <= high);
}
