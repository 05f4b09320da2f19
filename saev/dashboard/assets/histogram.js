// The histogram of a latent's activations. A click on a bin marks the images that lie in it.

/**
 * The bin that the reader chose, by its edges; null if none.
 * @type {[number, number] | null}
 */
let chosenBin = null;

/**
 * Chooses a bin of the histogram. The second time, none is chosen.
 * @param {number} low
 * @param {number} high
 */
function chooseBin(low, high) {
  chosenBin = chosenBin?.[0] === low ? null : [low, high];
  markBin();
}

/** Marks the chosen bin and its images, and says how many these are. */
function markBin() {
  const page = at("latent");
  const [low, high] = chosenBin ?? [NaN, NaN];
  const marked = new Set();
  for (const figure of page.querySelectorAll("figure")) {
    const value = Number(figure.dataset.value);
    const isIn = value >= low && value < high;
    figure.classList.toggle("in-bin", isIn);
    if (isIn) marked.add(figure.dataset.row);
  }
  for (const bin of page.querySelectorAll(".bars g")) {
    bin.setAttribute("aria-pressed", String(Number(bin.getAttribute("data-low")) === low));
  }
  const isOrAre = marked.size === 1 ? "is" : "are";
  const said = `${count(marked.size)} of these images ${isOrAre} in this range, and marked.`;
  const where = page.querySelector(".histogram [role=status]");
  if (where) where.textContent = chosenBin ? said : "";
}

/**
 * The histogram of the latent's activations.
 * @param {number[]} bins the first bin that is filled, then the counts from there on
 * @param {boolean} log whether the heights are on a log scale
 */
function histogram([first, ...counts], log) {
  if (!counts.length) return make("p", { class: "soft" }, "It never fires.");
  const [width, height] = [480, 84];
  const most = Math.max(...counts);
  const each = Math.min(48, width / counts.length);
  const edge = (/** @type {number} */ i, digits = 3) => number(about.bin_edges[first + i], digits);
  const span = `${edge(0)} to ${edge(counts.length)}`;
  const fullest = `the fullest bin holds ${count(most)} vectors`;
  const plot = draw("svg", {
    viewBox: `0 -14 ${width} ${height + 32}`,
    class: "bars",
    role: "group",
    "aria-label": `Histogram of activations from ${span}; ${fullest}`,
  });
  /**
   * @param {number} x
   * @param {number} y
   * @param {string} anchor
   * @param {string} text
   */
  const write = (x, y, anchor, text) =>
    plot.append(draw("text", { x, y, "text-anchor": anchor }, text));
  counts.forEach((n, i) => {
    const part = log ? Math.log1p(n) / Math.log1p(most) : n / most;
    const tall = n ? Math.max(1.5, height * part) : 0;
    const [low, high] = [
      about.bin_edges[first + i] ?? 0,
      about.bin_edges[first + i + 1] ?? Infinity,
    ];
    const place = { x: i * each + 0.5, width: Math.max(1, each - 1) };
    const said = `${edge(i)} to ${edge(i + 1)}: ${count(n)} ${n === 1 ? "vector" : "vectors"}`;
    const bin = draw(
      "g",
      { role: "button", tabindex: 0, "aria-label": said, "data-low": low },
      draw("title", {}, said),
      draw("rect", { ...place, y: 0, height, class: "room" }),
      draw("rect", { ...place, y: height - tall, height: tall, rx: 1 }),
    );
    bin.addEventListener("click", () => chooseBin(low, high));
    bin.addEventListener("keydown", (press) => {
      if (press.key !== "Enter" && press.key !== " ") return;
      press.preventDefault();
      chooseBin(low, high);
    });
    plot.append(bin);
    if (n === most) write((i + 0.5) * each, height - tall - 4, "middle", count(n));
  });
  const used = each * counts.length;
  plot.append(draw("line", { x1: 0, x2: used, y1: height, y2: height, class: "axis" }));
  const every = Math.max(1, Math.ceil(counts.length / 8));
  for (let i = 0; i <= counts.length; i += every) {
    const anchor = i === 0 ? "start" : i === counts.length ? "end" : "middle";
    write(i * each, height + 14, anchor, edge(i, 2));
  }
  return plot;
}

/**
 * The histogram, with a button that changes its scale.
 * @param {LatentData} data
 * @param {State} view
 */
function histogramOf(data, view) {
  const meaning =
    "how many vectors have an activation in each range. Ranges are equally wide on a log scale. " +
    "A click on one marks the images whose activation lies in it";
  const toggle = make(
    "button",
    {
      type: "button",
      class: "quiet",
      "aria-pressed": String(view.log),
      onclick: () => go({ log: !view.log }),
    },
    "log counts",
  );
  const title = make("h3", {}, term("Activations where it fires", meaning), toggle);
  const said = make("p", { class: "soft", role: "status" });
  return make("section", { class: "histogram" }, title, histogram(data.histogram, view.log), said);
}
