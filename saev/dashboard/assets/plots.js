// The plots of the gallery: the error over the steps of a training, and the frontier of a sweep.

/** @typedef {[x: number, y: number][]} Line */

const dotted = { "stroke-dasharray": "1.5 4", "stroke-linecap": "round" };
const dashed = { "stroke-dasharray": "6 3" };

/**
 * A text in a plot.
 * @param {number} x
 * @param {number} y
 * @param {string} text
 * @param {"start" | "middle" | "end"} anchor which part of the text stands at x
 */
const word = (x, y, text, anchor = "start") => draw("text", { x, y, "text-anchor": anchor }, text);

/**
 * @param {number} x1
 * @param {number} y1
 * @param {number} x2
 * @param {number} y2
 */
const axis = (x1, y1, x2, y2) => draw("line", { x1, y1, x2, y2, class: "axis" });

/** @param {Line} points */
const path = (points) => points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");

const sampled = "a sample, 16,384 vectors of held-out images at most";
const whenDone = "Reconstruction takes all vectors and their own mean, so its errors differ.";

/**
 * The error of a training, on training vectors and on held-out ones.
 * @param {Curve} points
 * @param {Amount} baseline error of the PCA
 */
function curve(points, baseline) {
  const [width, height, left] = [340, 118, 34];
  const all = [...points.train, ...points.held_out];
  if (all.length < 2) return make("p", { class: "soft" }, "No curve was logged.");
  const last = Math.max(...all.map(([step]) => step), 1);
  const highest = Math.max(...all.map(([, error]) => error), baseline ?? 0);
  const most = Math.min(1.2, Math.ceil(highest * 5) / 5 || 1);
  /** @param {number} step */
  const x = (step) => left + ((width - left) * step) / last;
  /** @param {number} error */
  const y = (error) => height - (height * Math.min(error, most)) / most;
  const plot = draw("svg", {
    viewBox: `0 -6 ${width} ${height + 24}`,
    role: "img",
    "aria-label": "Normalised error over the steps of training",
  });
  for (const error of [0, most / 2, most]) {
    plot.append(axis(left, y(error), width, y(error)));
    plot.append(word(left - 6, y(error) + 4, number(error, 2), "end"));
  }
  /**
   * @param {number[][]} pairs
   * @param {string} stroke
   * @param {Record<string, string>} style
   */
  const add = (pairs, stroke, style) =>
    plot.append(
      draw("polyline", {
        points: path(pairs.map(([step, error]) => [x(step), y(error)])),
        fill: "none",
        "stroke-width": 1.8,
        "stroke-linejoin": "round",
        stroke,
        ...style,
      }),
    );
  const known = !absent(baseline);
  if (known)
    add(
      [
        [0, baseline],
        [last, baseline],
      ],
      "var(--soft)",
      dotted,
    );
  add(points.train, "var(--accent)", {});
  add(points.held_out, "var(--held)", dashed);
  plot.append(
    word(width, height + 15, `${count(last)} steps`, "end"),
    word(left, height + 15, "0"),
  );
  /**
   * @param {string} text
   * @param {string} style
   */
  const key = (text, style) => make("span", {}, make("i", { style }), text);
  const keys = [key("trained on", "border-color:var(--accent)")];
  if (points.held_out.length) {
    keys.push(key("held out", "border-color:var(--held);border-top-style:dashed"));
  }
  if (known) keys.push(key("PCA", "border-color:var(--soft);border-top-style:dotted"));
  const centred = "nmse about the mean of all recorded vectors.";
  const meaning = `${centred} Trained on: one batch. Held out: ${sampled}. ${whenDone}`;
  const title = make("h3", {}, term("Error while training", meaning));
  return make("div", { class: "curve" }, title, plot, make("div", { class: "key" }, ...keys));
}

/**
 * Maps values to places on a log scale, with some room on both sides.
 * @param {number[]} values
 * @param {number} from
 * @param {number} to
 * @returns {(value: number) => number}
 */
function logScale(values, from, to) {
  const low = Math.log(Math.min(...values));
  const high = Math.log(Math.max(...values));
  const room = Math.max(0.08 * (high - low), 0.02);
  return (value) => from + ((to - from) * (Math.log(value) - low + room)) / (high - low + 2 * room);
}

/** @param {number[]} values */
const ends = (values) => new Set([Math.min(...values), Math.max(...values)]);

/**
 * L0 against error for the points of a sweep, both on log scales. Works without colours too.
 * @param {Frontier} sweep
 * @param {string} error what the error is called
 */
function frontierPlot(sweep, error) {
  // On a phone, a plot of this width would be shrunk until nobody can read it.
  const narrow = window.matchMedia("(max-width: 720px)").matches;
  const [width, height, left, right] = narrow ? [340, 300, 46, 16] : [640, 300, 52, 150];
  const plot = draw("svg", {
    viewBox: `0 0 ${width} ${height + 42}`,
    role: "img",
    "aria-label": `L0 and ${error} of the points of ${sweep.entry}`,
  });
  const points = sweep.points.filter((p) => p.l0 > 0 && p.nmse > 0);
  if (!points.length) return plot;
  const l0 = points.map((p) => p.l0);
  const nmse = points.map((p) => p.nmse);
  const x = logScale(l0, left, width - right);
  const y = logScale(nmse, height, 36);
  plot.append(axis(left, height, width - right, height), axis(left, 12, left, height));
  for (const v of ends(l0)) plot.append(word(x(v), height + 16, number(v), "middle"));
  for (const v of ends(nmse)) plot.append(word(left - 6, y(v) + 4, number(v), "end"));
  const middle = (left + width - right) / 2;
  plot.append(word(middle, height + 36, "L0: active latents per vector (log)", "middle"));
  plot.append(word(left + 6, 14, `${error} (log)`));
  /** @type {Line} */
  const front = points.filter((p) => p.pareto).map((p) => [x(p.l0), y(p.nmse)]);
  const line = { fill: "none", stroke: "var(--accent)", "stroke-width": 1.5 };
  plot.append(draw("polyline", { ...line, points: path(front) }));
  for (const p of points) {
    const [cx, cy] = [x(p.l0), y(p.nmse)];
    const figures = `L0 ${number(p.l0)}, ${error} ${share(p.nmse, 3)}, ${percent(p.dead)} dead`;
    const title = draw("title", {}, `${p.name}: ${figures}`);
    const link = p.link ? draw("a", { href: p.link }, title) : draw("g", {}, title);
    const fill = p.pareto ? "var(--accent)" : "var(--card)";
    link.append(draw("circle", { ...line, cx, cy, r: 5, fill }));
    if (p.name === sweep.recommended) {
      const ring = { fill: "none", stroke: "var(--held)", "stroke-width": 2.5 };
      link.append(draw("circle", { ...ring, cx, cy, r: 10 }));
    }
    // A label is right of its point or, where that's beyond the border, left, below the line.
    const fits = cx + 13 + 7 * p.label.length < width;
    const text = fits ? word(cx + 13, cy - 6, p.label) : word(cx - 9, cy + 17, p.label, "end");
    if (p.pareto) link.append(text);
    plot.append(link);
  }
  return plot;
}

/**
 * The points of a sweep as a plot and as a table.
 * @param {Frontier} sweep
 */
function frontier(sweep) {
  const error = sweep.held_out ? "held-out error (nmse)" : "error (nmse)";
  const rows = sweep.points.map((p) => {
    const mark = p.name === sweep.recommended ? "recommended" : p.pareto ? "Pareto-optimal" : "";
    const link = p.link ? make("a", { href: p.link }, p.label) : p.label;
    return [link, number(p.l0), share(p.nmse, 3), percent(p.dead), mark];
  });
  const plot = make(
    "div",
    { class: "curve wide" },
    make("h3", {}, "Sparsity against error"),
    frontierPlot(sweep, error),
    make("p", { class: "soft" }, "Filled: Pareto-optimal. Ringed: recommended."),
  );
  const over = sweep.held_out ? sampled : "its batch";
  const centred = "about the mean of all recorded vectors";
  const help = `nmse at the last step, ${centred}, over ${over}. ${whenDone}`;
  const points = table("Points", [[""], ["L0"], ["error", help], ["dead"], [""]], rows);
  const none = absent(sweep.recommended) ? "No point is recommended. " : "";
  return make(
    "article",
    { class: "run frontier" },
    make("h2", {}, `Sweep of ${sweep.entry}`),
    make("p", { class: "soft" }, sweep.where),
    make("div", { class: "parts" }, plot, points),
    make("p", { class: "soft" }, `${none}${sweep.rule}`),
  );
}
