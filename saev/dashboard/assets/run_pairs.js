// The part of the gallery that compares two runs: it matches their latents when asked to.

const PAIRS_SHOWN = 12;
const PAIR_IMAGES = 4;

/** @param {GalleryRun} run */
const runName = ({ run }) => `${run.sae} · ${run.images} / ${run.vit} / ${run.analysis}`;

/**
 * Why the directions of two runs can't be compared; null if they can.
 * @param {GalleryRun} a
 * @param {GalleryRun} b
 */
function whyNotMatched(a, b) {
  const [left, right] = [a, b].map(({ run, settings: { tokens, layer, normalisation } }) => ({
    "other images": run.trained_on,
    "another tower": run.vit,
    "other vectors": `${tokens} ${tokens === "pooled" ? "" : (layer ?? "")}`,
    "vectors normalised in another way": normalisation ?? "none",
  }));
  for (const [what, value] of Object.entries(left)) {
    const other = Reflect.get(right, what);
    if (value !== other) return `They were trained on ${what}: ${value} and ${other}.`;
  }
  return null;
}

/**
 * Which latents of a run fire, where their data lies, and their names.
 * @param {GalleryRun} run
 */
async function matchable(run) {
  const columns = /** @type {Columns} */ (await readOf(run, "data/latents.js", "latents"));
  const isOlder = !columns.numbers.place;
  if (isOlder) throw new Error(`The page ${run.link} is by an older version: make it again.`);
  const label = Object.keys(run.summary.all.label_purity_top).sort()[0];
  const { place, image_count: images, [`named.${label}`]: flags } = columns.numbers;
  const isNamed = flags && (await unpacked(flags));
  const tops = flags && (await unpackedTexts(columns.texts[`top_label.${label}`]));
  return {
    run,
    places: await unpacked(place),
    fires: Array.from(await unpacked(images), (one) => one > 0),
    /** @param {number} latent */
    called: (latent) => (isNamed?.[latent] ? tops[latent] : null),
  };
}

/** @typedef {Awaited<ReturnType<typeof matchable>>} Matchable */

/**
 * The fields that choose two runs, and the place for what is found; and what chooses them.
 * @param {GalleryRun[]} runs
 */
function runPairs(runs) {
  const box = make("div", { class: "pairs-found" });
  const saying = make("p", { class: "soft", role: "status" });
  const [left, right] = ["first", "second"].map((which) => {
    const options = runs.map((run) => make("option", { value: run.link }, clipped(runName(run))));
    return make("select", { "aria-label": `The ${which} run` }, ...options);
  });
  right.selectedIndex = 1;
  const apply = async () => {
    const [a, b] = [left, right].map((one) => runs[one.selectedIndex]);
    const hash = new URLSearchParams({ first: a.link, second: b.link });
    history.replaceState(null, "", `#${hash}`);
    box.replaceChildren();
    const refused = a === b ? "Choose two different runs." : whyNotMatched(a, b);
    saying.textContent = plain(clipped(refused ?? "Reading directions …"));
    if (refused) return;
    button.disabled = true;
    try {
      await showPairs([a, b], saying, box);
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      saying.textContent = plain(message);
    }
    button.disabled = false;
  };
  const button = make("button", { type: "button", class: "open", onclick: apply }, "Match latents");
  const asked = new URLSearchParams(location.hash.slice(1));
  const places = ["first", "second"].map((key) =>
    runs.findIndex(({ link }) => link === asked.get(key)),
  );
  if (places.every((place) => place >= 0)) {
    [left.selectedIndex, right.selectedIndex] = places;
    apply();
  }
  const heading = make("h2", { tabIndex: -1 }, "Compare two runs");
  /** @param {GalleryRun[]} pair */
  const compare = (pair) => {
    [left.selectedIndex, right.selectedIndex] = pair.map((run) => runs.indexOf(run));
    apply();
    heading.scrollIntoView();
    heading.focus();
  };
  const section = make(
    "section",
    { class: "run pairs" },
    heading,
    make("div", { class: "pairs-form" }, left, right, button),
    saying,
    box,
  );
  return { section, compare };
}

/**
 * Matches two runs, and shows what is matched and what isn't.
 * @param {GalleryRun[]} runs
 * @param {HTMLElement} saying says how far it is, and then how many are matched
 * @param {HTMLElement} box
 */
async function showPairs(runs, saying, box) {
  const a = await matchable(runs[0]);
  const b = await matchable(runs[1]);
  const isLarge = runs.some(({ summary }) => summary.n_latents > MOST_MATCHED);
  const report = (/** @type {number} */ done) => {
    saying.textContent = `Comparing directions: ${Math.round(100 * done)} %`;
  };
  const found = isLarge ? await readMatch(runs) : await matchHere(a, b, report);
  const { n, chance, pairs, alone, aloneThere } = found;
  const again = pairs.filter(({ cosine }) => cosine >= FOUND_AGAIN).length;
  saying.replaceChildren(
    make("b", {}, count(pairs.length)),
    ` of ${count(n[0])} latents of the first and ${count(n[1])} of the second ` +
      "that fire are matched, one to one, ",
    make("b", {}, count(again)),
    ` of them with a cosine of ${FOUND_AGAIN} or more. Partners are nearer than ` +
      `${share(chance)}, about what the nearest of as many random directions has.`,
  );
  const show = (/** @type {Pair[]} */ list) => pairList(list, [a, b]);
  box.replaceChildren(
    pairSection("Matched", "the largest cosine first", pairs, show),
    pairSection("Unmatched in the first", "with the nearest of the second", alone, show),
    pairSection("Unmatched in the second", "with the nearest of the first", aloneThere, show),
  );
}

/**
 * @param {string} title
 * @param {string} note
 * @param {Pair[]} pairs
 * @param {(pairs: Pair[]) => HTMLElement[]} show
 */
function pairSection(title, note, pairs, show) {
  const items = make("ol", { class: "pair-list" });
  const more = make("button", { type: "button", class: "more" }, "Show more");
  const add = () => {
    const from = items.childElementCount;
    items.append(...show(pairs.slice(from, from + PAIRS_SHOWN)));
    more.hidden = items.childElementCount >= pairs.length;
  };
  more.addEventListener("click", add);
  add();
  const said = pairs.length ? note : "none";
  const heading = make("h3", {}, `${title}: ${count(pairs.length)}`);
  heading.append(make("span", { class: "soft" }, said));
  return make("section", {}, heading, items, more);
}

/**
 * Pairs of latents with their strongest images.
 * @param {Pair[]} pairs
 * @param {Matchable[]} sides
 */
function pairList(pairs, sides) {
  return pairs.map(({ latent, other, cosine }) => {
    const links = [latent, other].map((one, i) => {
      const { run, called, places } = sides[i];
      const { data_latents: size, folder } = run;
      const known = called(one);
      const images = make("span", { class: "row" });
      const n = Math.floor(places[one] / size);
      const data = `data/blocks/${padded(n / folder, 3)}/${padded(n, 5)}.js`;
      readOf(run, data, `block ${n}`).then(
        (found) => {
          const rows = /** @type {PageBlock} */ (found).rows[places[one] % size];
          const shown = rows.slice(0, PAIR_IMAGES).filter((row) => row >= 0);
          images.append(
            ...shown.map((row) => {
              const file = `${padded(row / folder ** 2, 3)}/${padded(row / folder, 5)}/${row}`;
              const src = `${run.pictures}pictures/${file}.jpg`;
              return make("span", { class: "picture" }, make("img", { src, alt: "" }));
            }),
          );
        },
        () => images.append(make("span", { class: "soft" }, "no images")),
      );
      const text = make("b", {}, `Latent ${one}`);
      return make(
        "a",
        { href: `${run.link}#latent=${one}` },
        images,
        text,
        known && inOneLine(known),
      );
    });
    const between = make("span", { class: "number" }, share(cosine));
    return make("li", {}, links[0], between, links[1]);
  });
}
