// The page of one run: cards of latents, filters, and a dialog for one latent.

const saev = (() => {
  const PAGE = 24;
  const CARD_PICTURES = 9;
  const blocks = new Map();
  const waiting = new Map();
  let about, figures, state, shown;

  // --- data: plain scripts, loaded when they are needed

  function latents(columns) { figures = columns; }
  function block(data) { blocks.set(data.first / about.block, data); }

  function script(name) {
    if (!waiting.has(name)) {
      waiting.set(name, new Promise((done, fail) => {
        document.head.append(make("script", { src: name, onload: done, onerror: fail }));
      }));
    }
    return waiting.get(name);
  }
  const blockName = (n) => `data/block-${String(n).padStart(4, "0")}.js`;
  async function dataOf(latent) {
    const n = Math.floor(latent / about.block);
    await script(blockName(n));
    const data = blocks.get(n), i = latent - data.first;
    const heat = data.heat ? Uint8Array.from(atob(data.heat[i]), (c) => c.charCodeAt(0)) : null;
    return {
      rows: data.rows[i], values: data.values[i], patches: data.patches[i], heat,
      histogram: data.histogram[i], neighbours: data.neighbours[i], cosines: data.cosines[i],
      image: (row) => data.images[row],
    };
  }
  const pictureName = (row) =>
    `pictures/${String(Math.floor(row / about.folder_pictures)).padStart(5, "0")}/${row}.jpg`;

  // --- pictures, with what the latent sees in them left bright

  // Perceptually even, dark to light, told apart by every kind of colour vision (after "inferno").
  const ramp = [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];
  function colour(v) {
    const at = v * (ramp.length - 1), i = Math.min(Math.floor(at), ramp.length - 2), f = at - i;
    return ramp[i].map((c, j) => c + f * (ramp[i + 1][j] - c));
  }

  function picture(latent, slot, data, loading) {
    const row = data.rows[slot];
    if (row === undefined || row < 0) return make("div", { class: "picture absent" });
    const box = make("div", { class: "picture" });
    box.append(make("img", { src: pictureName(row), alt: data.image(row)[0], loading, decoding: "async" }));
    if (data.heat && state.heat !== "off") {
      const [lines, columns] = about.grid, size = lines * columns;
      const canvas = make("canvas", { width: columns, height: lines });
      const pixels = new ImageData(columns, lines);
      for (let p = 0; p < size; p++) {
        const v = data.heat[slot * size + p] / 255;
        const [r, g, b] = state.heat === "spotlight" ? [10, 12, 18] : colour(Math.sqrt(v));
        const alpha = state.heat === "spotlight" ? 0.66 * (1 - Math.sqrt(v)) : 0.72;
        pixels.data.set([r, g, b, Math.round(255 * alpha)], 4 * p);
      }
      canvas.getContext("2d").putImageData(pixels, 0, 0);
      box.append(canvas);
    }
    return box;
  }

  // --- cards

  const label = () => state.label && about.labels.includes(state.label) ? state.label : about.labels[0];
  const figure = (name, latent) => figures[name][latent];
  const topLabel = (latent) => (label() ? figure(`top_label.${label()}`, latent) : null);
  const purity = (latent) => (label() ? figure(`label_purity_top.${label()}`, latent) : null);

  function card(latent) {
    const pictures = make("div", { class: "pictures" });
    for (let i = 0; i < CARD_PICTURES; i++) pictures.append(make("div", { class: "picture" }));
    const value = purity(latent);
    const text = make("div", { class: "about" },
      make("div", { class: "name" },
        make("b", {}, topLabel(latent) ?? `latent ${latent}`),
        topLabel(latent) === null ? null : make("span", { class: "number" }, `${latent}`)),
      value === null ? null : make("div", { class: "meter", title: `purity ${share(value)}` },
        make("i", { style: `width:${100 * value}%` })),
      make("div", { class: "figures" },
        make("span", {}, make("b", {}, count(figure("image_count", latent))), " images"),
        make("span", {}, "mean ", make("b", {}, number(figure("mean_activation", latent), 2))),
        value === null ? null : make("span", {}, "purity ", make("b", {}, share(value))),
        label() ? make("span", {}, "entropy ", make("b", {}, share(figure(`label_entropy.${label()}`, latent)))) : null));
    const node = make("button", {
      class: "card", type: "button", onclick: () => go({ latent }),
      "aria-label": `Latent ${latent}, ${topLabel(latent) ?? ""}, on ${count(figure("image_count", latent))} images`,
    }, pictures, text);
    dataOf(latent).then((data) => pictures.replaceChildren(
      ...Array.from({ length: CARD_PICTURES }, (_, i) => picture(latent, i, data, "lazy"))));
    return node;
  }

  // --- sorting and filtering: on counts and figures, never on what is missing

  function orders() {
    const plain = [
      ["image_count", "images it fires on"], ["fire_rate", "frequency"], ["mean_activation", "mean activation"],
      ["max_activation", "largest activation"], ["latent", "number"],
    ];
    const perLabel = about.labels.flatMap((name) => [
      [`label_purity_top.${name}`, `purity of top images by ${name}`],
      [`label_purity.${name}`, `purity of all images by ${name}`],
      [`label_entropy.${name}`, `entropy by ${name}`],
    ]);
    return [...perLabel, ...plain];
  }

  function select() {
    const keep = [], text = state.find.trim().toLowerCase();
    for (let j = 0; j < about.n_latents; j++) {
      if (figure("image_count", j) < state.min || figure("fire_rate", j) > state.max / 100) continue;
      if (state.pure > 0 && !(purity(j) >= state.pure)) continue;
      if (text && String(j) !== text &&
          !about.labels.some((n) => (figure(`top_label.${n}`, j) ?? "").toLowerCase().includes(text))) continue;
      keep.push(j);
    }
    const by = figures[state.sort], sign = state.down ? -1 : 1;
    keep.sort((a, b) => {
      if (by[a] === null || by[b] === null) return (by[a] === null) - (by[b] === null) || a - b;
      return sign * (by[a] - by[b]) || figure("image_count", b) - figure("image_count", a) || a - b;
    });
    return keep;
  }

  // --- controls, and the state, which lives in the address

  const standard = () => ({
    sort: orders()[0][0], down: true, min: about.labels.length ? Math.min(16, about.summary.all.n_images) : 1,
    max: 100, pure: 0, find: "", label: about.labels[0] ?? "", heat: "spotlight", page: 0, latent: null,
  });

  function read() {
    const wanted = standard();
    for (const [key, text] of new URLSearchParams(location.hash.slice(1))) {
      if (!(key in wanted)) continue;
      if (key === "down") wanted.down = text === "true";
      else if (["min", "max", "pure", "page", "latent"].includes(key)) {
        if (Number.isFinite(Number(text))) wanted[key] = Number(text);
      } else wanted[key] = text;
    }
    if (!(wanted.sort in figures)) wanted.sort = standard().sort;
    if (wanted.latent !== null && !(wanted.latent in figures.latent)) wanted.latent = null;
    return wanted;
  }

  function go(change) {
    const next = { ...state, ...change }, usual = standard(), hash = new URLSearchParams();
    for (const [key, value] of Object.entries(next)) {
      if (value !== usual[key] && value !== null) hash.set(key, value);
    }
    history.replaceState(null, "", `#${hash}`);
    render();
  }

  function field(title, input) { return make("label", {}, title, input); }
  function choice(value, options, change) {
    return make("select", { onchange: (e) => change(e.target.value) },
      ...options.map(([key, text]) => make("option", { value: key, selected: key === value }, text)));
  }
  function amount(value, step, max, change) {
    return make("input", { type: "number", min: 0, max, step, value, onchange: (e) => change(Number(e.target.value)) });
  }

  function controls() {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    const turn = (page) => { go({ page }); window.scrollTo(0, 0); };
    document.getElementById("controls").replaceChildren(...[
      field("Sort by", choice(state.sort, orders(), (sort) => go({ sort, page: 0, down: !sort.includes("entropy") && sort !== "latent" }))),
      make("button", { type: "button", onclick: () => go({ down: !state.down, page: 0 }) }, state.down ? "↓ high first" : "↑ low first"),
      field("On at least (images)", amount(state.min, 1, null, (min) => go({ min, page: 0 }))),
      field("On at most (% of vectors)", amount(state.max, "any", 100, (max) => go({ max, page: 0 }))),
      about.labels.length ? field("Purity at least", amount(state.pure, 0.05, 1, (pure) => go({ pure, page: 0 }))) : null,
      about.labels.length > 1 ? field("Label", choice(state.label, about.labels.map((l) => [l, l]), (name) => go({ label: name }))) : null,
      field(about.labels.length ? "Find label or number" : "Find number",
        make("input", { type: "search", value: state.find, onchange: (e) => go({ find: e.target.value, page: 0 }) })),
      about.grid ? field("Where it fires", heatChoice()) : null,
      make("button", { type: "button", disabled: !shown.length, onclick: () => go({ latent: shown[Math.floor(Math.random() * shown.length)] }) }, "Random"),
      make("div", { class: "pager push" },
        make("span", { class: "number" }, `${count(shown.length)} of ${count(about.n_latents)} latents`),
        make("button", { type: "button", disabled: state.page <= 0, onclick: () => turn(state.page - 1), "aria-label": "Page before" }, "‹"),
        make("span", { class: "number" }, `${state.page + 1} / ${pages}`),
        make("button", { type: "button", disabled: state.page + 1 >= pages, onclick: () => turn(state.page + 1), "aria-label": "Next page" }, "›")),
    ].filter(Boolean));
  }
  const heatChoice = () => choice(state.heat, [["spotlight", "lit"], ["colour", "coloured"], ["off", "plain pictures"]], (heat) => go({ heat }));

  function render() {
    state = read();
    shown = select();
    state.page = Math.min(Math.max(0, state.page), Math.max(0, Math.ceil(shown.length / PAGE) - 1));
    controls();
    const page = shown.slice(state.page * PAGE, (state.page + 1) * PAGE);
    document.getElementById("cards").replaceChildren(...(page.length ? page.map(card)
      : [make("p", { class: "nothing" }, "No latent passes these filters. Lower “on at least” or “purity at least”.")]));
    detail();
  }

  // --- one latent

  function histogram(bins) {
    if (!bins.length) return make("p", { class: "soft" }, "It never fires.");
    const [first, ...counts] = bins, width = 400, height = 110, most = Math.max(...counts);
    const w = width / counts.length, edges = about.bin_edges;
    const plot = draw("svg", { viewBox: `0 0 ${width} ${height + 18}`, class: "bars", role: "img", "aria-label": "Histogram of activations" });
    counts.forEach((n, i) => {
      const h = n ? Math.max(1.5, (height * n) / most) : 0;
      const bar = draw("rect", { x: i * w + 0.5, y: height - h, width: Math.max(1, w - 1), height: h });
      bar.append(draw("title", {}, `${number(edges[first + i])} to ${number(edges[first + i + 1])}: ${count(n)} vectors`));
      plot.append(bar);
    });
    const ticks = [0, Math.floor(counts.length / 2), counts.length];
    for (const i of new Set(ticks)) {
      const anchor = i === 0 ? "start" : i === counts.length ? "end" : "middle";
      plot.append(draw("text", { x: i * w, y: height + 14, "text-anchor": anchor }, number(edges[first + i], 2)));
    }
    return plot;
  }

  function facts(latent) {
    const list = make("dl", { class: "facts" });
    const add = (title, text) => list.append(make("dt", {}, title), make("dd", {}, text));
    add("images it fires on", `${count(figure("image_count", latent))} of ${count(about.summary.all.n_images)}`);
    add("frequency", `${percent(figure("fire_rate", latent))} of ${count(about.summary.all.n_vectors)} vectors`);
    add("mean activation", number(figure("mean_activation", latent)));
    add("largest activation", number(figure("max_activation", latent)));
    for (const name of about.labels) {
      add(`top ${name}`, figure(`top_label.${name}`, latent) ?? missing);
      add("… purity of top images", share(figure(`label_purity_top.${name}`, latent)));
      add("… purity of all images", share(figure(`label_purity.${name}`, latent)));
      add("… entropy", `${share(figure(`label_entropy.${name}`, latent))} (${count(figure(`label_support.${name}`, latent))} labelled images)`);
    }
    return list;
  }

  function step(by) {
    const at = shown.indexOf(state.latent);
    if (at >= 0 && shown[at + by] !== undefined) go({ latent: shown[at + by], page: Math.floor((at + by) / PAGE) });
  }

  async function detail() {
    const dialog = document.getElementById("dialog"), latent = state.latent;
    if (latent === null) { if (dialog.open) dialog.close(); return; }
    const data = await dataOf(latent);
    if (latent !== state.latent) return;
    const grid = make("div", { class: "grid" });
    for (let i = 0; i < data.rows.length; i++) {
      const row = data.rows[i], absent = row < 0;
      const [key, ...labels] = absent ? [null] : data.image(row);
      const where = labels.filter((text) => text !== null).join(" · ");
      grid.append(make("figure", {}, picture(latent, i, data, "eager"),
        absent ? make("figcaption", {}, "no further image") :
          make("figcaption", { title: [key, where, `row ${row}`, data.patches[i] < 0 ? null : `patch ${data.patches[i]}`].filter(Boolean).join("\n") },
            make("span", {}, make("b", { class: "number" }, number(data.values[i])), where ? ` ${where}` : ""),
            make("span", {}, key))));
    }
    const near = make("div", { class: "near" }, ...data.neighbours.map((other, i) =>
      make("button", { type: "button", onclick: () => go({ latent: other }) },
        make("span", {}, `${other}${topLabel(other) === null ? "" : ` ${topLabel(other)}`}`),
        make("span", { class: "soft number" }, share(data.cosines[i])))));
    const at = shown.indexOf(latent);
    dialog.replaceChildren(make("div", { class: "detail" },
      make("div", { class: "bar" },
        make("h1", { tabIndex: -1, autofocus: true }, `Latent ${latent}`), make("span", { class: "soft" }, topLabel(latent) ?? ""),
        make("span", { class: "push" }), about.grid ? heatChoice() : null,
        make("button", { type: "button", disabled: at <= 0, onclick: () => step(-1), "aria-label": "Latent before (left arrow)" }, "←"),
        make("button", { type: "button", disabled: at < 0 || at + 1 >= shown.length, onclick: () => step(1), "aria-label": "Next latent (right arrow)" }, "→"),
        make("button", { type: "button", onclick: () => go({ latent: null }) }, "Close")),
      make("div", { class: "columns" },
        make("section", { "aria-label": "Top images" }, grid),
        make("section", {}, facts(latent),
          make("h3", {}, "Activations, where it fires (log scale)"), histogram(data.histogram),
          make("h3", {}, "Latents that write in nearly the same direction (cosine)"), near))));
    if (!dialog.open) dialog.showModal();
  }

  // --- the frame

  function header() {
    const run = about.run, name = (text) => make("b", {}, text);
    document.title = `${run.sae} · ${run.images} · saev`;
    const how = [about.architecture, about.training.k ? `k = ${about.training.k}` : null, about.training.l1 ? `L1 ${about.training.l1}` : null];
    document.getElementById("header").append(
      make("div", { class: "lineage" }, make("a", { href: "../../../../../index.html" }, "All runs")),
      make("div", { class: "top" },
        make("div", {},
          make("h1", {}, `What ${about.model} sees`),
          make("p", { class: "lineage" }, "images ", name(run.images), "→ tower ", name(run.vit), "→ dictionary ", name(run.sae), "→ analysis ", name(run.analysis)),
          make("p", { class: "soft" }, `${count(about.n_latents)} latents of ${about.stream} (d = ${about.d}), ${how.filter(Boolean).join(", ")}`)),
        make("div", { class: "tables" }, figuresTable(about.summary), latentFacts(about.summary))));
    document.getElementById("footer").append(
      make("p", {}, "A latent is one direction of the dictionary; its pictures are those on which it is most active, cropped as the model saw them. ",
        "Purity is the share of the most common label among them. Keys: ← → between latents, Esc closes."),
      about.credit ? make("p", {}, about.credit) : "");
  }

  async function start(data) {
    about = data;
    await script("data/latents.js");
    header();
    window.addEventListener("hashchange", render);
    document.getElementById("dialog").addEventListener("close", () => { if (state.latent !== null) go({ latent: null }); });
    document.addEventListener("keydown", (event) => {
      if (state.latent === null || /INPUT|SELECT/.test(event.target.tagName)) return;
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    });
    render();
    requestAnimationFrame(() => requestAnimationFrame(() => {
      document.documentElement.dataset.painted = Math.round(performance.now());
    }));
  }

  return { start, latents, block };
})();
