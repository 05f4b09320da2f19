// The overview: all runs in one table. A reader sorts it by any column, and picks two to compare.

const byName = new Intl.Collator("en", { numeric: true });

/**
 * All runs as a table.
 * @param {GalleryRun[]} runs
 * @param {Record<string, string>} meanings of figures of evaluations, by their titles
 * @param {(pair: GalleryRun[]) => void} compare
 */
function runTable(runs, meanings, compare) {
  const labels = allOf(runs, ({ summary }) => Object.keys(summary.all.label_purity_top));
  const titles = allOf(runs, ({ measured }) =>
    Object.keys(measured ?? {}).filter((title) => !absent(measured?.[title].value)),
  ).filter((title) => title !== STABILITY);
  /** @type {Costs | null | undefined} */
  let costs;
  /** @type {GalleryRun[]} */
  let picked = [];
  const order = { column: -1, down: false };
  const [label, figure] = [choiceOf(labels), choiceOf(titles)];
  const button = make(
    "button",
    { type: "button", class: "open", onclick: () => compare(picked) },
    "Compare the two",
  );
  const box = make("div", {
    class: "run-table",
    tabIndex: 0,
    role: "region",
    "aria-label": "All runs",
  });
  const notes = make("details", { class: "soft run-notes" });
  /** @param {GalleryRun} run */
  const pick = (run) => {
    const others = picked.filter((one) => one !== run);
    picked = others.length < picked.length ? others : [...others, run].slice(-2);
    for (const [i, one] of [...box.querySelectorAll("input")].entries())
      one.checked = picked.includes(sorted[i]);
    button.disabled = picked.length < 2;
  };
  /** @type {GalleryRun[]} */
  let sorted = runs;
  const fill = () => {
    const columns = [
      NAME,
      ...lineageColumns(runs),
      ...RECONSTRUCTION,
      purityColumn(labels[label.selectedIndex] ?? "", runs),
      measuredColumn(STABILITY, meanings[STABILITY], runs),
      DEAD,
      ...costColumns(costs),
      ...titles
        .filter((_, i) => i === figure.selectedIndex)
        .map((title) => measuredColumn(title, meanings[title], runs)),
    ];
    const by = columns[order.column];
    sorted = by ? [...runs].sort((a, b) => compared(by.value(a), by.value(b), order.down)) : runs;
    const made = table(
      "All runs",
      columns.flatMap(({ title, meaning, beside }) => [[title, meaning], ...minor(beside)]),
      sorted.map((run) =>
        columns.flatMap(({ shown, others }) => [shown(run), ...(others?.(run) ?? []).map(less)]),
      ),
    );
    const heads = [...made.querySelectorAll("thead th")];
    columns.forEach(({ title, beside = [] }, i) => {
      const [head, ...others] = heads.splice(0, 1 + beside.length);
      for (const one of others) one.classList.add("minor");
      addSort(head, title, order.column === i ? order.down : null, () => {
        Object.assign(order, { column: i, down: order.column === i && !order.down });
        fill();
        /** @type {HTMLElement} */ (box.querySelectorAll("button.sort")[i]).focus();
      });
    });
    made.querySelectorAll("tbody th").forEach((cell, i) => {
      const run = sorted[i];
      const tick = make("input", {
        type: "checkbox",
        "aria-label": `Compare ${runName(run)}`,
        checked: picked.includes(run),
        onchange: () => pick(run),
      });
      cell.prepend(make("label", {}, tick));
    });
    const place = [box.scrollLeft, box.scrollTop];
    box.replaceChildren(made);
    [box.scrollLeft, box.scrollTop] = place;
    fillNotes(notes, runs, columns);
  };
  button.disabled = true;
  for (const one of [label, figure]) one.addEventListener("change", fill);
  fill();
  load("costs.js", "costs")
    .then(
      () => (costs = /** @type {Costs} */ (saevData.costs)),
      () => (costs = null),
    )
    .then(fill);
  const tools = make(
    "div",
    { class: "run-tools" },
    make("h2", {}, "All runs"),
    labels.length > 1 ? make("label", {}, "Purity by ", label) : null,
    titles.length ? make("label", {}, "Figure of evaluations ", figure) : null,
    make("span", { class: "soft push" }, "Tick two runs: "),
    button,
  );
  return make("section", { class: "run runs-compared" }, tools, box, notes);
}

/** @type {RunColumn} */
const NAME = {
  title: "dictionary",
  value: ({ run }) => run.sae,
  shown: ({ run, link, current }) =>
    make(
      "span",
      { class: "run-name" },
      make("a", { href: link }, inOneLine(run.sae)),
      current ? null : make("small", {}, "of other settings"),
    ),
};

/**
 * @param {GalleryRun[]} runs
 * @param {(run: GalleryRun) => string[]} of
 */
const allOf = (runs, of) => [...new Set(runs.flatMap(of))].sort(byName.compare);

/** @param {string[]} texts */
const choiceOf = (texts) =>
  make("select", {}, ...texts.map((text) => make("option", {}, clipped(text))));

/**
 * Heads of the cells in small print.
 * @param {string[]} [titles]
 * @returns {[string][]}
 */
const minor = (titles = []) => titles.map((title) => [title]);

/** @param {string} text */
const less = (text) => make("small", {}, text);

/**
 * @param {Element} head
 * @param {string} title
 * @param {boolean | null} down whether rows are sorted by it from the largest; null if they aren't
 * @param {() => void} sort
 */
function addSort(head, title, down, sort) {
  if (down !== null) head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const arrow = down === null ? "↕" : down ? "↓" : "↑";
  const label = `Sort by ${title}`;
  head.append(
    make("button", { type: "button", class: "sort", "aria-label": label, onclick: sort }, arrow),
  );
}

/**
 * Says why figures are missing, and what else to know, with the number of runs.
 * @param {HTMLElement} notes
 * @param {GalleryRun[]} runs
 * @param {RunColumn[]} columns
 */
function fillNotes(notes, runs, columns) {
  const said = columns.flatMap((column) => runs.map((run) => column.said?.(run)));
  /** @type {Map<string, number>} */
  const found = new Map();
  for (const text of said) if (text) found.set(text, (found.get(text) ?? 0) + 1);
  const lines = [...found].map(([text, n]) =>
    make("li", {}, `${clipped(text)} (${n === runs.length ? "all runs" : count(n)})`),
  );
  notes.hidden = !lines.length;
  notes.replaceChildren(
    make("summary", {}, `Why figures are missing, and other notes (${lines.length})`),
    make("ul", {}, ...lines),
  );
}

/**
 * Which of two values comes first; what is missing comes last.
 * @param {number | string | null} a
 * @param {number | string | null} b
 * @param {boolean} down
 */
function compared(a, b, down) {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  const rising =
    typeof a === "number" && typeof b === "number" ? a - b : byName.compare(String(a), String(b));
  return down ? -rising : rising;
}
