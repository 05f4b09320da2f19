// The axes of the map: where values are, and which round values to write.

/** From which ratio of the largest to the smallest value on, an axis is on a log scale. */
const LOG_FROM = 10;

/** @typedef {ReturnType<typeof scaleOf>} Scale */

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
  const span = last - first + 2 * room;
  /** @param {number} value */
  const pixel = (value) => from + ((to - from) * (straight(value) - first + room)) / span;
  /** @param {number} pixels */
  const back = (pixels) => first - room + (span * (pixels - from)) / (to - from);
  return {
    from,
    to,
    log,
    /** The place of a value; NaN if it is missing, or 0 on a log scale. @param {unknown} value */
    place: (value) => (typeof value !== "number" || (log && value <= 0) ? NaN : pixel(value)),
    /** The value at a place. @param {number} pixels */
    value: (pixels) => (log ? Math.exp(back(pixels)) : back(pixels)),
    /** Round values along the axis. */
    ticks: high < low ? [] : log ? powers(above, high) : steps(low, high),
  };
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
