// The wall: an endless grid of small images, one for each latent that passes the filters. Only
// those near to what can be seen are there, so memory doesn't grow with the number of latents.

/** The least width of a tile, the gap between two, and how far beyond the window there are some. */
const [TILE, GAP, MARGIN] = [82, 4, 800];

/**
 * The tiles that are there, by their places in the order.
 * @type {Map<number, HTMLElement>}
 */
const onWall = new Map();

/** The place of the tile that the Tab key reaches. */
let tabbed = 0;

/** Draws the wall anew. */
function showWall() {
  if (!strongestOfAll) {
    loadStrongest().then(showView, fail);
    return;
  }
  showTools(...wallTools());
  const wall = document.getElementById("wall") ?? makeWall();
  onWall.clear();
  const none = make("li", { class: "nothing" }, "No latent passes these filters.");
  wall.replaceChildren(...(shown.length ? [] : [none]));
  settleWall();
}

function makeWall() {
  const wall = make("ol", { id: "wall", "aria-label": "Latents, each by its strongest image" });
  wall.addEventListener("keydown", walk);
  at("view-wall").append(wall);
  window.addEventListener("scroll", scrolled, { passive: true });
  new ResizeObserver(() => {
    if (wall.clientWidth) settleWall();
  }).observe(at("view-wall"));
  return wall;
}

/** Buttons that choose between crops and whole images; none for images without patches. */
function wallTools() {
  if (!about.grid) return [];
  const options = ["Crops", "Whole images"].map((title, i) => ({
    title,
    chosen: state.whole === (i === 1),
    change: { whole: i === 1 },
  }));
  return [segments("What the wall shows", options)];
}

/** How many columns the wall has, how wide a tile is, and how far it is from one to the next. */
function measured() {
  const width = at("wall").clientWidth;
  const columns = Math.max(3, Math.floor((width + GAP) / (TILE + GAP)));
  const pitch = (width + GAP) / columns;
  return { columns, side: pitch - GAP, pitch };
}

/** What covers the top of the window: the bar, if it stays there. */
const covered = () =>
  getComputedStyle(at("controls")).position === "sticky" ? at("controls").offsetHeight : 0;

/** Gives the wall its height, goes to the page that the state names, and fills what can be seen. */
function settleWall() {
  if (at("list").hidden) return;
  const { columns, side, pitch } = measured();
  at("wall").style.height = `${Math.ceil(shown.length / columns) * pitch}px`;
  for (const [i, tile] of onWall) placeTile(tile, i, columns, side, pitch);
  if (pageSeen() !== state.page) {
    const line = Math.floor((state.page * PAGE) / columns);
    const above = at("wall").getBoundingClientRect().top + window.scrollY - covered();
    window.scrollTo(0, line ? above + line * pitch : 0);
  }
  fillWall();
}

/** The page of the list to which the first line that can be seen belongs. */
function pageSeen() {
  const { columns, pitch } = measured();
  const above = Math.max(0, covered() - at("wall").getBoundingClientRect().top);
  const last = Math.round(above / pitch) * columns + columns - 1;
  return Math.floor(Math.min(last, Math.max(0, shown.length - 1)) / PAGE);
}

function scrolled() {
  if (state.view !== "wall" || at("list").hidden) return;
  const page = pageSeen();
  if (page !== state.page) keep({ page });
  fillWall();
}

/** Makes the tiles near to what can be seen. Drops the others, but not the one with the focus. */
function fillWall() {
  const wall = at("wall");
  const { columns, side, pitch } = measured();
  const above = -wall.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor((above - MARGIN) / pitch)) * columns;
  const end = Math.ceil((window.innerHeight + above + MARGIN) / pitch) * columns;
  for (const [i, tile] of onWall) {
    if ((i >= first && i < end) || tile.contains(document.activeElement)) continue;
    tile.remove();
    onWall.delete(i);
  }
  const rest = address({ latent: null, page: 0 });
  // From the last to the first, so that each is put before the one that follows it.
  for (let i = Math.min(end, shown.length) - 1; i >= first; i--) {
    if (onWall.has(i)) continue;
    const tile = makeTile(i, rest);
    placeTile(tile, i, columns, side, pitch);
    wall.insertBefore(tile, onWall.get(i + 1) ?? null);
    onWall.set(i, tile);
  }
  const reached = onWall.has(tabbed) ? tabbed : Math.round(Math.max(0, above) / pitch) * columns;
  for (const [i, tile] of onWall) linkOf(tile).tabIndex = i === reached ? 0 : -1;
}

/** @param {HTMLElement} tile */
const linkOf = (tile) => /** @type {HTMLElement} */ (tile.firstElementChild);

/**
 * @param {HTMLElement} tile
 * @param {number} i its place in the order
 * @param {number} columns
 * @param {number} side
 * @param {number} pitch
 */
function placeTile(tile, i, columns, side, pitch) {
  const [line, column] = [Math.floor(i / columns), i % columns];
  Object.assign(tile.style, {
    left: `${column * pitch}px`,
    top: `${line * pitch}px`,
    width: `${side}px`,
    height: `${side}px`,
  });
}

/**
 * @param {number} i its place in the order
 * @param {string} rest of the address
 */
function makeTile(i, rest) {
  const latent = shown[i];
  const { rows, patches } = /** @type {NonNullable<typeof strongestOfAll>} */ (strongestOfAll);
  const first = latent * stripLength();
  const called = nameOf(latent, state.label);
  const { star } = noteOf(latent);
  const spoken = [called === null ? null : clipped(called), `Latent ${latent}`, star && "starred"];
  const link = make(
    "a",
    {
      href: `${rest}&page=${Math.floor(i / PAGE)}&latent=${latent}`,
      "aria-label": spoken.filter(Boolean).join(", "),
      onclick: (click) => {
        if (click.ctrlKey || click.metaKey || click.shiftKey) return;
        click.preventDefault();
        tabbed = i;
        openLatent(latent);
      },
    },
    wallImage(rows[first], patches[first]),
    make(
      "span",
      { class: "called" },
      make("span", { class: "name" }, called === null ? "Latent" : clipped(called)),
      make("span", { class: "number" }, `${latent}`),
    ),
    star ? make("span", { class: "starred" }, "★") : null,
  );
  const size = shown.length;
  return make("li", { class: "tile", "aria-posinset": i + 1, "aria-setsize": size }, link);
}

/**
 * @param {number} row
 * @param {number} patch
 */
function wallImage(row, patch) {
  if (about.grid && row >= 0 && patch >= 0 && !state.whole) return crop(row, about.grid, patch);
  return framed(row, patch, "eager");
}

/**
 * Moves the focus over the wall.
 * @param {KeyboardEvent} press
 */
function walk(press) {
  const { columns } = measured();
  const from = [...onWall].find(([, tile]) => tile.contains(document.activeElement))?.[0];
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[press.key];
  if (from === undefined || !by || press.ctrlKey || press.metaKey || press.altKey) return;
  press.preventDefault();
  if (shown[from + by] !== undefined) focusTile(from + by);
}

/**
 * Brings a tile into view, and the focus to it.
 * @param {number} i its place in the order
 */
function focusTile(i) {
  const { columns, pitch } = measured();
  const y = at("wall").getBoundingClientRect().top + Math.floor(i / columns) * pitch;
  const [least, most] = [covered() + GAP, window.innerHeight - pitch];
  if (y < least) window.scrollBy(0, y - least);
  if (y > most) window.scrollBy(0, y - most);
  tabbed = i;
  fillWall();
  const tile = onWall.get(i);
  if (tile) linkOf(tile).focus({ preventScroll: true });
}

/** What the pictures of the wall are. */
function wallMeaning() {
  const around = "the part of an image around the patch on which it is strongest";
  return (
    "Each picture is a latent, in the order of the list: " +
    `${about.grid && !state.whole ? around : "the image on which it is strongest"}. Point at it ` +
    "for its name. The arrow keys go from one to the next."
  );
}

/** @param {number} latent */
function revealTile(latent) {
  const i = shown.indexOf(latent);
  if (i >= 0 && strongestOfAll) focusTile(i);
}
