// What a reader does on the map: points at a latent, opens it, or selects some.

/** How far from a point the mouse, or a finger, may be. */
const REACH = { mouse: 14, touch: 28 };

/** How long the pointer rests on a latent before its images are loaded, in milliseconds. */
const REST = 70;

/**
 * The latent that the reader points at.
 * @type {number | null}
 */
let picked = null;

/** Where the reader has pressed the button. @type {{ x: number, y: number } | null} */
let pressedAt = null;

/** The line that the reader draws: places in pixels. @type {number[][]} */
let trail = [];

/** @type {ReturnType<typeof setTimeout> | undefined} */
let resting;

function listenToMap() {
  const canvas = at("map");
  canvas.addEventListener("pointermove", moved);
  canvas.addEventListener("pointerdown", (press) => {
    if (press.button) return;
    pressedAt = { x: press.offsetX, y: press.offsetY };
    trail = [[press.offsetX, press.offsetY]];
    canvas.setPointerCapture(press.pointerId);
  });
  canvas.addEventListener("pointercancel", () => {
    pressedAt = null;
    showBrush();
  });
  canvas.addEventListener("pointerup", released);
  canvas.addEventListener("keydown", stepOnMap);
  canvas.addEventListener("focus", () => {
    const first = plotted.latents[0];
    if (picked === null && first !== undefined && canvas.matches(":focus-visible")) pick(first);
  });
}

/**
 * The latent whose point is nearest to a place; null if none is near.
 * @param {number} x
 * @param {number} y
 * @param {number} reach
 */
function nearest(x, y, reach) {
  const { latents, xs, ys } = plotted;
  let [best, least] = [-1, reach * reach];
  for (let i = 0; i < latents.length; i++) {
    const distance = (xs[i] - x) ** 2 + (ys[i] - y) ** 2;
    if (distance <= least) [best, least] = [i, distance];
  }
  return best < 0 ? null : latents[best];
}

/** @param {PointerEvent} pointer */
function moved({ offsetX, offsetY, pointerType }) {
  if (pressedAt) {
    trail.push([offsetX, offsetY]);
    if (!isDrag()) return;
    if (state.lasso) layLine(trail);
    else layOver(at("brush"), pressedAt.x, pressedAt.y, offsetX, offsetY);
    return;
  }
  if (pointerType === "touch") return;
  const found = nearest(offsetX, offsetY, REACH.mouse);
  at("map").style.cursor = found === null ? "crosshair" : "pointer";
  if (found !== null && found !== picked) pick(found);
}

/** Whether the pointer was away from where the reader pressed the button. */
const isDrag = () => trail.some(([x, y]) => Math.hypot(x - trail[0][0], y - trail[0][1]) > 5);

/** @param {PointerEvent} pointer */
function released({ offsetX: x, offsetY: y, pointerType }) {
  const from = pressedAt;
  pressedAt = null;
  if (!from) return;
  trail.push([x, y]);
  if (isDrag()) {
    if (state.lasso) selectInside(trail);
    else selectWithin(from.x, from.y, x, y);
    return;
  }
  const isTouch = pointerType === "touch";
  const found = nearest(x, y, isTouch ? REACH.touch : REACH.mouse);
  if (found === null) return;
  pick(found);
  if (!isTouch) openLatent(found);
}

/**
 * Selects the latents within a rectangle of the map, whatever was selected before.
 * @param {number} x1
 * @param {number} y1
 * @param {number} x2
 * @param {number} y2
 */
function selectWithin(x1, y1, x2, y2) {
  /**
   * The values between two places, which may lie beyond the axis.
   * @param {string} figure
   * @param {Scale} scale
   * @param {number[]} places
   */
  const between = (figure, { value, from, to }, places) => {
    const [low, high] = [Math.min(from, to), Math.max(from, to)];
    const ends = places.map((place) => value(Math.min(high, Math.max(low, place))));
    return [figure, ...ends.map(inShort).toSorted((a, b) => a - b)];
  };
  const [across, up] = mapAxes();
  const brush = [between(across, plotted.x, [x1, x2]), between(up, plotted.y, [y1, y2])];
  selectAll(brush);
}

/**
 * Selects the latents inside a line on the map, whatever was selected before.
 * @param {number[][]} places places in pixels
 */
function selectInside(places) {
  const [across, up] = mapAxes();
  const corners = shortLine(places).flatMap(([x, y]) => [plotted.x.value(x), plotted.y.value(y)]);
  selectAll({ x: across, y: up, corners: corners.map(inShort) });
}

/** @param {object} brush */
function selectAll(brush) {
  restart({ brush: JSON.stringify(brush) });
  if (!shown.length || !isSelection(state.brush)) unbrush();
}

/** Frames what is selected, if the axes are those of the selection. */
function showBrush() {
  const { ranges, lasso } = selectionOf(state.brush);
  const [across, up] = ranges;
  const { x, y } = plotted;
  const isHere = (/** @type {string[]} */ ...pair) => pair.join() === mapAxes().join();
  const isRectangle = ranges.length === 2 && isHere(across[0], up[0]);
  at("brush").hidden = !isRectangle;
  if (isRectangle) {
    layOver(at("brush"), x.place(across[1]), y.place(up[1]), x.place(across[2]), y.place(up[2]));
  }
  const corners = lasso && isHere(lasso.x, lasso.y) ? lasso.corners : [];
  const places = corners.map((value, i) => (i % 2 ? y : x).place(value));
  layLine(places.flatMap((place, i) => (i % 2 ? [] : [[place, places[i + 1]]])));
}

/**
 * Lays a closed line over the map.
 * @param {number[][]} places
 */
const layLine = (places) => at("lasso").setAttribute("points", places.join(" "));

/**
 * Lays an element between two corners.
 * @param {HTMLElement} node
 * @param {number} x1
 * @param {number} y1
 * @param {number} x2
 * @param {number} y2
 */
function layOver(node, x1, y1, x2, y2) {
  node.hidden = false;
  Object.assign(node.style, {
    left: `${Math.min(x1, x2)}px`,
    top: `${Math.min(y1, y2)}px`,
    width: `${Math.abs(x2 - x1)}px`,
    height: `${Math.abs(y2 - y1)}px`,
  });
}

/**
 * Points at a latent: a ring and its name at once, its card with images after a moment.
 * @param {number} latent
 */
function pick(latent) {
  picked = latent;
  showPicked();
  const parts = [state.x, state.y].map((figure) => {
    const { title, format } = axisOf(figure);
    return `${title} ${formats[format](figures[figure][latent])}`;
  });
  at("map-said").textContent = plain(`${calledOnMap(latent)}: ${clipped(parts.join(", "))}`);
  at("near-lines").replaceChildren();
  clearTimeout(resting);
  resting = setTimeout(() => {
    const one = card(latent);
    at("map-card").replaceChildren(one);
    fillCard(latent, one, "eager");
    showNear(latent).catch(fail);
  }, REST);
}

/** @param {number} latent */
function calledOnMap(latent) {
  const called = nameOf(latent, state.label);
  return called === null ? `Latent ${latent}` : `${clipped(called)} (${latent})`;
}

/** Rings the point of the latent that the reader points at. */
function showPicked() {
  const { latents, xs, ys } = plotted;
  const i = picked === null ? -1 : latents.indexOf(picked);
  const ring = at("picked");
  ring.hidden = i < 0;
  if (picked === null || i < 0) return;
  Object.assign(ring.style, { left: `${xs[i]}px`, top: `${ys[i]}px` });
  ring.classList.toggle("left", xs[i] > at("map").clientWidth / 2);
  const label = /** @type {HTMLElement} */ (ring.querySelector("b"));
  label.textContent = plain(calledOnMap(picked));
}

/** @param {KeyboardEvent} press */
function stepOnMap(press) {
  if (press.ctrlKey || press.metaKey || press.altKey) return;
  if (press.key === "Enter" && picked !== null) openLatent(picked);
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const way = /** @type {Record<string, number[]>} */ (ways)[press.key];
  if (!way) return;
  press.preventDefault();
  const found = toward(way[0], way[1]);
  if (found !== null) pick(found);
}

/**
 * The latent to which an arrow key leads: near, and more in its direction than aside. Points at
 * the same place follow each other.
 * @param {number} right
 * @param {number} down
 */
function toward(right, down) {
  const { latents, xs, ys } = plotted;
  const from = picked === null ? -1 : latents.indexOf(picked);
  if (from < 0) return latents[0] ?? null;
  let [best, least] = [-1, Infinity];
  for (let i = 0; i < latents.length; i++) {
    const [x, y] = [xs[i] - xs[from], ys[i] - ys[from]];
    const [along, aside] = [x * right + y * down, Math.abs(x * down) + Math.abs(y * right)];
    const isSame = !along && !aside && (i - from) * (right + down) > 0;
    if (!isSame && (along <= 0 || aside > along)) continue;
    const far = isSame ? 1e-6 * Math.abs(i - from) : along + 2 * aside;
    if (far < least) [best, least] = [i, far];
  }
  return best < 0 ? null : latents[best];
}

/** @param {number} latent */
function revealOnMap(latent) {
  picked = latent;
  drawMap();
  at("map").focus({ preventScroll: true });
}
