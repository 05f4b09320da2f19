// The page of one run: cards of latents, filters, and their state, which lives in the address.

const PAGE = 24;
const CARD_PICTURES = 9;
const at = (id) => document.getElementById(id);
let state, shown, listed, drawn;

// --- state

function orders() {
  const perLabel = about.labels.flatMap((name) => [
    [`label_purity_top.${name}`, `purity by ${name}`],
    [`label_purity.${name}`, `purity of all images by ${name}`],
    [`label_entropy.${name}`, `entropy by ${name}`],
  ]);
  return [...perLabel, ["image_count", "images"], ["fire_rate", "frequency"], ["mean_activation", "mean activation"],
    ["max_activation", "largest activation"], ["latent", "number"]];
}

const rising = (sort) => sort === "latent" || sort.startsWith("label_entropy");

// Purity of a latent that fires on three images says little: those with few images wait behind a filter.
const usual = () => ({
  sort: orders()[0][0], down: true, min: about.labels.length ? Math.min(16, about.summary.all.n_images) : 1,
  from: 0, to: 100, pure: 0, preset: "", find: "", label: about.labels[0] ?? "", heat: "spotlight", strength: 70, page: 0, latent: null,
});
const filters = ["min", "from", "to", "pure", "preset", "find"];

// The filter of the first explorers (2024): not too rare, not too weak, and with labels enough to judge.
const presets = [["", "none"], ["2024", "2024"]];
function passes2024(j, n, support) {
  const mean = figures.mean_top_activation[j];
  return mean !== null && Math.log10(figures.fire_count[j] / n) > -4 && Math.log10(mean) > -0.7 && support[j] >= 10;
}

function read() {
  const wanted = usual();
  for (const [key, text] of new URLSearchParams(location.hash.slice(1))) {
    if (!Object.hasOwn(wanted, key)) continue;
    if (key === "down") wanted.down = text === "true";
    else if (["min", "from", "to", "pure", "strength", "page", "latent"].includes(key)) {
      if (text !== "" && Number.isFinite(Number(text))) wanted[key] = Number(text);
    } else wanted[key] = text;
  }
  if (!orders().some(([name]) => name === wanted.sort)) wanted.sort = usual().sort;
  if (!about.labels.includes(wanted.label)) wanted.label = usual().label;
  if (!presets.some(([name]) => name === wanted.preset)) wanted.preset = "";
  if (!heatModes.some(([mode]) => mode === wanted.heat)) wanted.heat = usual().heat;
  if (!Number.isInteger(wanted.latent) || wanted.latent < 0 || wanted.latent >= about.n_latents) wanted.latent = null;
  return wanted;
}

function address(change) {
  const next = { ...state, ...change }, standard = usual(), hash = new URLSearchParams();
  for (const [key, value] of Object.entries(next)) if (value !== standard[key] && value !== null) hash.set(key, value);
  return `#${hash}`;
}

// Opening a latent is a step that the back button undoes; other changes are not. The address follows
// after a moment: browsers ignore a page that changes it with every move of a slider.
let late = null;
function settle() {
  if (late === null) return;
  clearTimeout(late);
  late = null;
  history.replaceState({ opened: Boolean(history.state?.opened) && state.latent !== null }, "", address({}));
}

function go(change) {
  const opens = state.latent === null && Number.isInteger(change.latent);
  if (opens) settle();
  state = { ...state, ...change };
  if (opens) history.pushState({ opened: true }, "", address({}));
  else late ??= setTimeout(settle, 200);
  render();
}

function close() {
  settle();
  if (history.state?.opened) history.back();
  else go({ latent: null });
}

// --- sorting and filtering: on counts, never on what is missing

function select() {
  const keep = [], text = state.find.trim().toLowerCase(), n = about.summary.all.n_vectors;
  const images = figures.image_count, fired = figures.fire_count, pure = state.label ? figures[`label_purity_top.${state.label}`] : null;
  const labels = about.labels.map((name) => figures[`top_label.${name}`]);
  const support = state.label ? figures[`label_support.${state.label}`] : images;
  const low = (state.from / 100) * n, high = (state.to / 100) * n;
  for (let j = 0; j < about.n_latents; j++) {
    if (text && String(j) === text) { keep.push(j); continue; }
    if (images[j] < state.min || fired[j] < low || fired[j] > high) continue;
    if (state.pure > 0 && !(pure && pure[j] !== null && pure[j] >= state.pure)) continue;
    if (state.preset === "2024" && !passes2024(j, n, support)) continue;
    if (text && !labels.some((top) => top[j] !== null && top[j].toLowerCase().includes(text))) continue;
    keep.push(j);
  }
  const by = figures[state.sort], sign = state.down ? -1 : 1;
  return keep.sort((a, b) => {
    if (by[a] === null || by[b] === null) return (by[a] === null) - (by[b] === null) || a - b;
    return sign * (by[a] - by[b]) || images[b] - images[a] || a - b;
  });
}

// --- controls: made once, so that none loses the focus while it is used

const field = (title, about, ...inputs) => make("label", { title: about }, make("span", {}, title), ...inputs);
const restart = (change) => { go({ page: 0, ...change }); };

function amount(key, properties, title) {
  return make("input", { id: `c-${key}`, type: "number", min: 0, "aria-label": title, ...properties,
    oninput: (event) => restart({ [key]: event.target.value === "" ? usual()[key] : Number(event.target.value) }) });
}

function choice(key, options, title, change) {
  return make("select", { id: `c-${key}`, "aria-label": title, onchange: (event) => change(event.target.value) },
    ...options.map(([value, text]) => make("option", { value }, text)));
}

function controls() {
  const sort = choice("sort", orders(), "Sort by", (value) => restart({ sort: value, down: !rising(value) }));
  const turn = make("button", { id: "c-down", type: "button", class: "icon", onclick: () => restart({ down: !state.down }) });
  const find = make("input", {
    id: "c-find", type: "search", placeholder: about.labels.length ? "label or number" : "number", "aria-label": "Find a label or a number",
    oninput: (event) => restart({ find: event.target.value }),
    onkeydown: (event) => { if (event.key === "Enter" && shown.length) go({ latent: shown[0] }); },
  });
  const random = make("button", { id: "c-random", type: "button", onclick: () => go({ latent: shown[Math.floor(Math.random() * shown.length)] }) }, "Random");
  at("controls").append(...[
    make("div", { class: "field" }, make("span", {}, "Sort by"), make("div", { class: "joined" }, sort, turn)),
    field("Find", null, find),
    about.labels.length > 1 ? field("Label", "the label that cards and purity are about", choice("label", about.labels.map((l) => [l, l]), "Label", (label) => restart({ label }))) : null,
    make("details", { id: "more", open: window.innerWidth > 720 }, make("summary", {}, "Filters"), make("div", { class: "filters" },
      field("Images ≥", "images on which it fires; 0 shows dead latents too", amount("min", { step: 1 }, "On at least so many images")),
      make("div", { class: "field", title: "share of the vectors on which it fires" }, make("span", {}, "Frequency, %"),
        make("div", { class: "joined" }, amount("from", { step: "any", max: 100 }, "Frequency at least, percent"), amount("to", { step: "any", max: 100 }, "Frequency at most, percent"))),
      about.labels.length ? field("Purity ≥", "share of the most common label among its top images", amount("pure", { step: 0.05, max: 1 }, "Purity at least")) : null,
      field("Preset", "2024: frequency above 1 in 10,000, mean of the top activations above 0.2, ten labelled images", choice("preset", presets, "Preset of filters", (preset) => restart({ preset }))))),
    make("div", { class: "field" }, make("span", {}, "\u00a0"), random),
  ].filter(Boolean));
}

function showState() {
  for (const key of ["sort", "label", "find", "min", "from", "to", "pure", "preset"]) {
    const input = at(`c-${key}`);
    if (input && input !== document.activeElement) input.value = state[key];
  }
  at("c-down").textContent = state.down ? "↓" : "↑";
  at("c-down").setAttribute("aria-label", state.down ? "Highest first; change" : "Lowest first; change");
  at("c-random").disabled = !shown.length;
  const hidden = about.n_latents - shown.length, dead = about.summary.all.n_dead;
  at("found").replaceChildren(make("b", {}, count(shown.length)), ` of ${count(about.n_latents)} latents`,
    hidden ? `, ${count(hidden)} hidden${dead && state.min > 0 ? ` (${count(dead)} dead)` : ""}` : "");
  at("reset").hidden = filters.every((key) => state[key] === usual()[key]);
  const pages = Math.max(1, Math.ceil(shown.length / PAGE));
  for (const pager of document.querySelectorAll(".pager")) {
    const [before, text, next] = pager.children;
    before.disabled = state.page <= 0;
    next.disabled = state.page + 1 >= pages;
    text.textContent = `${count(state.page + 1)} / ${count(pages)}`;
  }
}

function pager() {
  const turn = (by) => { go({ page: state.page + by }); at("controls").scrollIntoView(); };
  return make("nav", { class: "pager", "aria-label": "Pages" },
    make("button", { type: "button", class: "icon", "aria-label": "Page before", onclick: () => turn(-1) }, "‹"),
    make("span", { class: "number" }),
    make("button", { type: "button", class: "icon", "aria-label": "Next page", onclick: () => turn(1) }, "›"));
}

// --- cards

function card(latent) {
  const places = Array.from({ length: Math.min(CARD_PICTURES, about.top_images) }, (_, i) => i), label = state.label;
  const pictures = make("div", { class: "pictures" }, ...places.map(() => make("div", { class: "picture" })));
  const pure = purity(latent, label), top = topLabel(latent, label), images = count(figure("image_count", latent));
  const one = (title, value, about) => make("div", { title: about }, make("dt", {}, title), make("dd", {}, value));
  const node = make("a", {
    class: "card", href: address({ latent }), "aria-label": `Latent ${latent}${top === null ? "" : `, ${top}`}, on ${images} images`,
    onclick: (event) => { if (!(event.ctrlKey || event.metaKey || event.shiftKey)) { event.preventDefault(); go({ latent }); } },
  }, pictures, make("div", { class: "about" },
    make("div", { class: "name" }, make("b", {}, top ?? `Latent ${latent}`), top === null ? null : make("span", { class: "number" }, `${latent}`)),
    label ? make("div", { class: "meter", title: `purity ${share(pure)}` }, make("i", { style: `width:${100 * (pure ?? 0)}%` })) : null,
    make("dl", { class: "figures" },
      one("freq", percent(figure("fire_rate", latent)), `fires on ${images} images`),
      one("mean", number(figure("mean_activation", latent), 2), "mean activation, where it fires"),
      ...(label ? [one("purity", share(pure), "share of the most common label among its top images"),
        one("entropy", share(figure(`label_entropy.${label}`, latent)), "of the label over all images on which it fires")]
        : [one("images", images, null), one("largest", number(figure("max_activation", latent), 2), "largest activation")]))));
  const view = state;
  dataOf(latent).then((data) => pictures.replaceChildren(...places.map((i) => picture(i, data, null, view, "lazy"))), fail);
  return node;
}

function fail(error) { at("found").textContent = `${error.message}. Was the folder copied whole?`; }

function showCards() {
  const page = shown.slice(state.page * PAGE, (state.page + 1) * PAGE);
  at("cards").replaceChildren(...(page.length ? page.map(card) : [make("p", { class: "nothing" }, "No latent passes these filters.")]));
}

function render() {
  const wanted = JSON.stringify(["sort", "down", "label", ...filters].map((key) => state[key]));
  if (wanted !== listed) shown = select();
  listed = wanted;
  state.page = Math.min(Math.max(0, Math.floor(state.page)), Math.max(0, Math.ceil(shown.length / PAGE) - 1));
  showState();
  const look = JSON.stringify([wanted, state.page, state.heat === "off"]);
  if (look !== drawn) showCards();
  drawn = look;
  detail();
}

// --- one latent

function step(by) {
  const i = shown.indexOf(state.latent) + by;
  if (i >= by && shown[i] !== undefined) go({ latent: shown[i], page: Math.floor(i / PAGE) });
}

async function detail() {
  const dialog = at("dialog"), latent = state.latent;
  if (latent === null) { if (dialog.open) dialog.close(); return; }
  let data, heat;
  try { [data, heat] = await Promise.all([dataOf(latent), state.heat === "off" ? null : heatOf(latent)]); } catch (error) { fail(error); return; }
  if (latent !== state.latent) return;
  const i = shown.indexOf(latent), link = (other) => address({ latent: other });
  const again = dialog.open && dialog.dataset.latent === String(latent);
  const grid = topImages(data, heat, state), legend = heatLegend(state, go);
  if (again) { // only the overlay has changed: what is focused and scrolled stays
    dialog.querySelector(".grid").replaceWith(grid);
    if (dialog.dataset.heat !== state.heat) dialog.querySelector(".overlay").replaceChildren(...(legend ? [legend] : []));
  } else {
    const arrow = (by, text, title, off) => make("button", { type: "button", class: "icon", disabled: off, onclick: () => step(by), "aria-label": title }, text);
    dialog.replaceChildren(make("div", { class: "bar" },
      make("h2", { tabIndex: -1, autofocus: true }, `Latent ${latent}`), make("span", { class: "soft top-label" }, topLabel(latent, state.label) ?? ""),
      make("span", { class: "soft number push" }, i < 0 ? "hidden by the filters" : `${count(i + 1)} of ${count(shown.length)}`),
      arrow(-1, "←", "Latent before (left arrow)", i <= 0), arrow(1, "→", "Next latent (right arrow)", i < 0 || i + 1 >= shown.length),
      make("button", { type: "button", class: "icon", onclick: close, "aria-label": "Close (Esc)" }, "✕")),
    make("div", { class: "columns" },
      make("section", { "aria-label": "Top images" }, make("div", { class: "overlay" }, legend), grid),
      make("div", { class: "side" }, facts(latent), labelTable(latent),
        make("section", {}, make("h3", {}, "Activations, where it fires (log scale)"), histogram(data.histogram)), neighbours(data, state, link))));
    for (const other of dialog.querySelectorAll("[data-step]")) {
      other.addEventListener("click", (event) => { event.preventDefault(); go({ latent: Number(new URLSearchParams(other.hash.slice(1)).get("latent")) }); });
    }
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    dialog.querySelector("h2").focus();
  }
  Object.assign(dialog.dataset, { latent, heat: state.heat });
}

// --- the frame

function header() {
  const size = absent(about.k) ? (absent(about.l1) ? "" : `, L1 ${about.l1}`) : `, k = ${about.k}`;
  document.title = `${about.run.sae} · ${about.run.images} · saev`;
  at("header").append(
    make("div", { class: "top" },
      make("div", {}, make("a", { class: "back", href: "../../../../../index.html" }, "← All runs"),
        make("h1", {}, `What ${about.model} sees`),
        make("p", { class: "soft" }, `${about.architecture} dictionary of ${about.stream}, d = ${about.d}${size}`),
        lineage(about.run), latentCounts(about.summary)),
      make("div", { class: "tables" }, figuresTable(about.summary), purityTable(about.summary))));
  at("footer").append(
    make("p", {}, "A latent is one direction of the dictionary; its pictures are those on which it is most active, cropped as the model saw them. ",
      "Purity is the share of the most common label among them. Keys: ← → between latents, Esc closes."),
    about.credit ? make("p", {}, about.credit) : "");
}

// Notes when the first cards, and those of their pictures that can be seen, were on the screen.
async function painted() {
  await Promise.allSettled(shown.slice(0, PAGE).map(dataOf));
  await new Promise(requestAnimationFrame);
  const seen = [...document.querySelectorAll(".card img")].filter((image) => image.getBoundingClientRect().top < window.innerHeight);
  await Promise.allSettled(seen.map((image) => image.decode()));
  requestAnimationFrame(() => { document.documentElement.dataset.painted = Math.round(performance.now()); });
}

async function start(data) {
  about = data;
  header();
  try { await load("data/latents.js"); } catch (error) { at("cards").append(make("p", { class: "nothing" }, `${error.message}. Was the folder copied whole?`)); return; }
  figures = saevData.latents;
  controls();
  at("pages").append(pager());
  at("pages-below").append(pager());
  at("reset").addEventListener("click", () => restart(Object.fromEntries(filters.map((key) => [key, usual()[key]]))));
  for (const change of ["popstate", "hashchange"]) window.addEventListener(change, () => { state = read(); render(); });
  at("dialog").addEventListener("cancel", (event) => { event.preventDefault(); close(); });
  at("dialog").addEventListener("close", () => { if (state.latent !== null) close(); });
  at("dialog").addEventListener("click", (event) => { if (event.target === at("dialog")) close(); });
  document.addEventListener("keydown", (event) => {
    if (state.latent === null || /INPUT|SELECT/.test(event.target.tagName)) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  state = read();
  render();
  await painted();
}
