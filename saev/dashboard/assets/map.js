// The map: a point for each latent, placed by two of its figures. What a reader does on it is in
// map_pointer.js.

/** @typedef {"plain" | "positional" | "dense" | "starred"} Kind */

/**
 * The shapes of points around 0, 0. Those further down are drawn above the others.
 * @type {Record<Kind, { path: string, title: string }>}
 */
const marks = {
  plain: { path: "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0Z", title: "other latents" },
  positional: { path: "M0-1.25L1.2.85H-1.2Z", title: "positional" },
  dense: { path: "M-1-1H1V1H-1Z", title: "dense" },
  starred: {
    path: "M0-1.6L.47-.65L1.52-.49L.76.25L.94 1.29L0 .8L-.94 1.29L-.76.25L-1.52-.49L-.47-.65Z",
    title: "your stars and notes",
  },
};

/** The room for the numbers of the axes. */
const [LEFT, RIGHT, ABOVE, BELOW] = [72, 14, 34, 44];

/**
 * What is drawn: latents with their places, in pixels.
 * @type {{
 *   latents: number[],
 *   xs: Float32Array,
 *   ys: Float32Array,
 *   x: Scale,
 *   y: Scale,
 *   place: (latent: number) => [x: number, y: number],
 * }}
 */
let plotted;

/**
 * The kinds of latents.
 * @param {number[]} latents
 * @returns {Kind[]}
 */
function kindsOf(latents) {
  const [dense, positional] = ["dense", "positional"].map((flag) => numbers(flag, state.label));
  return latents.map((latent) => {
    if (notes.has(latent)) return "starred";
    if (dense[latent]) return "dense";
    return positional[latent] ? "positional" : "plain";
  });
}

/** Draws the map anew. */
function showMap() {
  if (!document.getElementById("map")) makeMap();
  at("map-axes").replaceChildren(...(isPlane() ? [] : axisMenus()));
  at("map").classList.toggle("lasso", state.lasso);
  showTools(...mapTools());
  at("to-wall").hidden = !state.brush;
  at("to-wall").textContent = `See ${count(shown.length)} on the wall`;
  drawMap();
}

function makeMap() {
  const plot = make(
    "div",
    { class: "plot" },
    make("canvas", { id: "map", tabIndex: 0, role: "application" }),
    make("span", { id: "brush", hidden: true }),
    draw(
      "svg",
      { id: "over-map", "aria-hidden": "true" },
      draw("polygon", { id: "lasso" }),
      draw("g", { id: "near-lines" }),
    ),
    make("button", { type: "button", id: "to-wall", onclick: () => leaveFor({ view: "wall" }) }),
    make("span", { id: "picked", hidden: true }, make("span", { class: "ring" }), make("b", {})),
  );
  const hint =
    "Point at a latent to see its images and lines to its nearest directions, and click to open " +
    "it. Drag over some, or around them with the lasso, to select them: the list, the " +
    "wall and the contrast then show these alone.";
  const said = make("p", { id: "map-said", class: "number", role: "status" });
  const missed = make("p", { id: "map-missed", class: "soft" });
  const parts = [
    make("div", { class: "plot-box" }, plot, said, missed),
    make("div", { id: "map-axes" }),
    make("div", { id: "map-legend" }),
    make("div", { id: "map-card" }, make("p", { class: "soft" }, hint)),
  ];
  at("view-map").append(make("div", { class: "map" }, ...parts));
  listenToMap();
  new ResizeObserver(drawMap).observe(plot);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawMap);
}

/** Draws all points, and the axes, as soon as the map can be seen. */
function drawMap() {
  const canvas = /** @type {HTMLCanvasElement} */ (at("map"));
  const { clientWidth: width, clientHeight: height } = canvas;
  const pen = canvas.getContext("2d");
  if (!width || !pen) return;
  const dense = window.devicePixelRatio || 1;
  Object.assign(canvas, { width: width * dense, height: height * dense });
  pen.scale(dense, dense);
  const [across, up] = mapAxes();
  const [x, y] = isPlane()
    ? planeScales(width, height)
    : [scaleOf(across, LEFT, width - RIGHT), scaleOf(up, height - BELOW, ABOVE)];
  if (!isPlane()) drawAxes(pen, width, height, x, y);
  const xs = Float32Array.from(figures[across], x.place);
  const ys = Float32Array.from(figures[up], y.place);
  const latents = shown.filter((latent) => !Number.isNaN(xs[latent] + ys[latent]));
  plotted = {
    latents,
    xs: Float32Array.from(latents, (latent) => xs[latent]),
    ys: Float32Array.from(latents, (latent) => ys[latent]),
    x,
    y,
    place: (latent) => [xs[latent], ys[latent]],
  };
  pen.fillStyle = colourOf("--faint");
  const passing = new Set(shown);
  for (let latent = 0; latent < about.n_latents; latent++) {
    if (!passing.has(latent)) pen.fillRect(xs[latent] - 1, ys[latent] - 1, 2, 2);
  }
  const counts = drawPoints(pen, kindsOf(latents), dense);
  at("map-legend").replaceChildren(...mapLegend(counts, about.n_latents - shown.length));
  const titles = [across, up].map((figure) => axisOf(figure).title);
  const what = isPlane()
    ? "those with similar directions lie together"
    : `${titles[0]} across, ${titles[1]} up`;
  canvas.setAttribute(
    "aria-label",
    plain(
      `Map of ${count(latents.length)} latents: ${what}. ` +
        "The arrow keys go from point to point, Enter opens a latent.",
    ),
  );
  at("map-missed").textContent = missedOnMap(shown.length - latents.length);
  showBrush();
  if (picked !== null) pick(picked);
}

/** @param {string} variable of the style sheet */
const colourOf = (variable) => getComputedStyle(at("map")).getPropertyValue(variable);

/**
 * Draws the points of each kind, and returns how many there are.
 * @param {CanvasRenderingContext2D} pen
 * @param {Kind[]} kinds
 * @param {number} dense pixels of the screen in one of the page
 */
function drawPoints(pen, kinds, dense) {
  const { xs, ys } = plotted;
  const radius = kinds.length > 20000 ? 1.6 : kinds.length > 2000 ? 2.6 : 4;
  /** @type {[Kind, number][]} */
  const counts = [];
  for (const kind of /** @type {Kind[]} */ (Object.keys(marks))) {
    const size = kind === "plain" ? radius : Math.max(3.6, 1.3 * radius);
    const half = Math.ceil(1.7 * size) + 1;
    const stamp = make("canvas", { width: 2 * half * dense, height: 2 * half * dense });
    const its = /** @type {CanvasRenderingContext2D} */ (stamp.getContext("2d"));
    its.scale(dense * size, dense * size);
    its.translate(half / size, half / size);
    const path = new Path2D(marks[kind].path);
    its.fillStyle = colourOf(`--${kind}`);
    its.strokeStyle = colourOf(kind === "starred" ? "--ink" : "--card");
    its.lineWidth = 1 / size;
    its.fill(path);
    if (kind !== "plain" || radius > 2) its.stroke(path);
    pen.globalAlpha = kind === "plain" ? 0.75 : 1;
    let n = 0;
    for (let i = 0; i < kinds.length; i++) {
      if (kinds[i] !== kind) continue;
      n++;
      pen.drawImage(stamp, xs[i] - half, ys[i] - half, 2 * half, 2 * half);
    }
    counts.push([kind, n]);
  }
  pen.globalAlpha = 1;
  return counts;
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {number} width
 * @param {number} height
 * @param {Scale} x
 * @param {Scale} y
 */
function drawAxes(pen, width, height, x, y) {
  pen.font = `12px ${getComputedStyle(at("map")).fontFamily}`;
  pen.fillStyle = colourOf("--soft");
  pen.strokeStyle = colourOf("--line");
  const bottom = height - BELOW;
  const [across, up] = [axisOf(state.x), axisOf(state.y)];
  pen.beginPath();
  pen.textAlign = "center";
  let free = -Infinity;
  for (const tick of x.ticks) {
    const middle = x.place(tick);
    pen.moveTo(middle, ABOVE);
    pen.lineTo(middle, bottom);
    const text = formats[across.format](tick, 2);
    const half = pen.measureText(text).width / 2;
    if (middle - half < free) continue;
    pen.fillText(text, middle, bottom + 17);
    free = middle + half + 10;
  }
  pen.textAlign = "right";
  for (const tick of y.ticks) {
    pen.moveTo(LEFT, y.place(tick));
    pen.lineTo(width - RIGHT, y.place(tick));
    pen.fillText(formats[up.format](tick, 2), LEFT - 8, y.place(tick) + 4);
  }
  pen.stroke();
  pen.fillStyle = colourOf("--ink");
  const said = [across, up].map(({ title }, i) =>
    plain(`${clipped(title)}${[x, y][i].log ? " (log)" : ""}`),
  );
  pen.textAlign = "center";
  pen.fillText(said[0], (LEFT + width - RIGHT) / 2, height - 8, width - LEFT - RIGHT);
  pen.textAlign = "left";
  pen.fillText(said[1], 12, 20, width - RIGHT - 12);
}
