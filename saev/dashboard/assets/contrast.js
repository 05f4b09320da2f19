// The view Contrast: two labels, or starred images, and the latents that fire on more images of one
// side than of the other.

const CONTRAST_PAGE = 12;
const SIDE_IMAGES = 6;

/** Shows the view. */
async function showContrast() {
  const box = at("view-contrast");
  const wanted = state;
  try {
    const index = await contrastIndex(wanted.label);
    if (!wanted.starred && index.texts.length < 2 && !starredImages.size) {
      box.replaceChildren(make("p", { class: "nothing" }, fewLabels(index)));
      return;
    }
    const sides = wanted.starred ? await starredSides(index) : await labelSides(index);
    if (state.view !== "contrast" || wanted.label !== state.label) return;
    const few = wanted.starred ? tooFew(sides) : sides[1].text ? "" : fewLabels(index);
    if (!few) drawContrast(index, sides);
    else box.replaceChildren(contrastForm(index, sides), make("p", { class: "nothing" }, few));
  } catch (error) {
    box.replaceChildren();
    fail(/** @type {Error} */ (error));
  }
}

/**
 * Why labels can't be contrasted.
 * @param {ContrastIndex} index
 */
function fewLabels({ least }) {
  const none = about.labels.length
    ? `A contrast needs two labels of ${state.label} with ${least} images or more.`
    : "This run has no labels to contrast. Give its analysis some, and run again.";
  return `${none} You can contrast starred images with all others: star some on their pages.`;
}

/**
 * @param {ContrastIndex} index
 * @param {Side[]} sides
 */
function drawContrast(index, [a, b]) {
  const all = contrasted([a, b]);
  const sign = { "": 0, a: 1, b: -1 }[state.side] ?? 0;
  const filtered = all.filter(({ lead }) => lead * sign > 0 || !sign);
  const items = make("div", { class: "versus-list" });
  const more = make("button", { type: "button", class: "more" }, "Show more");
  const add = () => {
    const from = items.childElementCount;
    items.append(
      ...filtered.slice(from, from + CONTRAST_PAGE).map((one) => contrastItem(one, [a, b])),
    );
    more.hidden = items.childElementCount >= filtered.length;
  };
  more.addEventListener("click", () => {
    const next = items.childElementCount;
    add();
    items.children[next]?.querySelector("a")?.focus();
  });
  add();
  const none = make("p", { class: "nothing" }, "No latent that passes the filters fires on these.");
  const counted = state.starred
    ? make("p", { class: "versus-said" }, countedMeaning([a, b]))
    : null;
  const old = at("view-contrast").contains(document.activeElement) && document.activeElement;
  const parts = [
    contrastForm(index, [a, b]),
    contrastSummary(index, all),
    ...(counted ? [counted] : []),
  ];
  at("view-contrast").replaceChildren(...parts, filtered.length ? items : none, more);
  if (old instanceof HTMLElement && old.id) document.getElementById(old.id)?.focus();
}

/** What the order and the figures mean. */
const contrastMeaning = () =>
  "A latent differs if the 95 % interval of the difference between its shares of images " +
  "(Newcombe 1998) leaves out 0. By share, those whose interval lies farthest from 0 come first, " +
  "and those whose interval holds 0 last. If labels meant nothing, about 5 % of the intervals " +
  "would leave out 0. A mean is over all images with the label, of the largest activation on " +
  "each (0 where it is silent), as a part of the latent's largest anywhere. A difference of " +
  "means has no interval here. Bars below images are on one scale: full is the latent's largest " +
  "anywhere.";

/**
 * How many latents differ, and how many would by chance.
 * @param {ContrastIndex} index
 * @param {Contrasted[]} all
 */
function contrastSummary({ n_few, n_beyond, least }, all) {
  const n = all.filter(({ shares }) => shares.sure > 0).length;
  const chance = Math.round(0.05 * all.length);
  const parts = [
    make("b", {}, count(n)),
    ` of ${count(all.length)} latents that ${state.starred ? "count" : "fire"} on these images `,
    term("differ", contrastMeaning()),
    `: chance alone would give about ${count(chance)}.`,
  ];
  const few = n_few ? `${count(n_few)} with fewer than ${least} images` : "";
  const many = n_beyond ? `${count(n_beyond)} more that are less common` : "";
  const left = [few, many].filter(Boolean).join(", ");
  if (left) parts.push(` Left out of both menus: ${left}.`);
  return make("p", { class: "versus-said", role: "status" }, ...parts);
}

/**
 * A difference in words: the larger side, and the interval if there is one.
 * @param {Contrasted} one
 * @param {Side[]} sides
 */
function contrastWords({ shares, lead }, sides) {
  const side = sides[lead > 0 ? 0 : 1];
  const points = (/** @type {number} */ x) => `${x < 0 ? "−" : ""}${number(Math.abs(100 * x), 2)}`;
  const ends = lead > 0 ? [shares.low, shares.high] : [-shares.high, -shares.low];
  const interval = ` (${points(ends[0])} to ${points(ends[1])})`;
  return make(
    "span",
    { class: "versus-words number push" },
    `${points(Math.abs(lead))} points more on`,
    inOneLine(side.text),
    byMean() ? "" : interval,
  );
}

/**
 * One latent, with the images of both sides on one scale.
 * @param {Contrasted} one
 * @param {Side[]} sides
 */
function contrastItem(one, sides) {
  const { latent, shares } = one;
  const called = nameOf(latent, state.label);
  const link = latentLink("contrast", latent);
  const head = make(
    "div",
    { class: "versus-head" },
    make("h2", {}, link),
    called === null ? null : inOneLine(called, "soft"),
    badges(latent, state.label),
    shares.sure || byMean() ? null : make("span", { class: "unsure" }, "could be chance"),
    contrastWords(one, sides),
    byMean() ? null : whisker(shares),
  );
  const halves = sides.map((side, i) => contrastHalf(one, side, i));
  return make("article", { class: "versus" }, head, make("div", { class: "halves" }, ...halves));
}

/**
 * A difference on a line from 100 points more on the left to 100 more on the right, with its
 * interval.
 * @param {ReturnType<typeof difference>} shares
 */
function whisker({ value, low, high }) {
  const x = (/** @type {number} */ part) => -100 * part;
  const line = { y1: 0, y2: 0 };
  return draw(
    "svg",
    {
      viewBox: "-104 -9 208 18",
      class: `whisker of-${value > 0 ? "a" : "b"}`,
      "aria-hidden": "true",
    },
    draw("line", { x1: -100, x2: 100, ...line, class: "axis" }),
    draw("line", { x1: 0, x2: 0, y1: -8, y2: 8, class: "axis" }),
    draw("line", { x1: x(low), x2: x(high), ...line, class: "span" }),
    draw("circle", { cx: x(value), cy: 0, r: 5 }),
  );
}

/**
 * A latent on the images of one side: the strongest of those that the page has, and some at
 * random, the same for all latents.
 * @param {Contrasted} one
 * @param {Side} side
 * @param {number} i 0 for the left side, 1 for the right
 */
function contrastHalf({ latent, hits, means }, side, i) {
  const part = hits[i] / side.n;
  const strongest = make("div", { class: "side-images" });
  const random = side.drawn.map(({ row, key, fires, whole }) => {
    const [value, patch] = fires.get(latent) ?? [0, -1];
    return sideImage({ row, key, part: value / 255, patch }, whole ? "silent" : "not counted");
  });
  side.strongest(latent).then((images) => {
    const none = make("p", { class: "soft" }, state.starred ? "none" : "none on its page");
    strongest.replaceChildren(...(images.length ? images.map((one) => sideImage(one)) : [none]));
  }, fail);
  return make(
    "div",
    { class: `half of-${"ab"[i]}`, role: "group", "aria-label": side.text },
    make(
      "p",
      { class: "fact" },
      inOneLine(side.text, "half-label"),
      make("span", {}, `${count(hits[i])} of ${count(side.n)} · ${percent(part)}`),
      state.starred ? null : make("span", { class: "soft" }, `mean ${percent(means[i])}`),
    ),
    make("div", { class: "meter" }, make("i", { style: `width:${100 * part}%` })),
    make("h3", {}, state.starred ? "counted, the strongest first" : "strongest on its page"),
    strongest,
    make("h3", {}, "at random"),
    make("div", { class: "side-images" }, ...random),
  );
}

/**
 * Brings a latent into view, with the focus.
 * @param {number} latent
 */
function revealContrast(latent) {
  document.getElementById(`contrast-${latent}`)?.focus({ preventScroll: true });
}
