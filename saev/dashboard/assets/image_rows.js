// The rows of images on the page of a latent.

/**
 * One image with its activation, labels and name. A click shows it large.
 * @param {number} slot place among the latent's images
 * @param {LatentData} data
 * @param {Uint8Array | null} heat
 * @param {State} view
 */
function captioned(slot, data, heat, view) {
  const row = data.rows[slot];
  const key = data.key(row);
  const labels = data.labels(row).filter((text) => text !== null);
  const patch = data.patches[slot] < 0 ? "" : `strongest on patch ${data.patches[slot]}`;
  const value = data.values[slot] ? number(data.values[slot]) : "silent";
  const spoken = `Image ${clipped(key)}, ${value}. Show it large`;
  const enlarge = make(
    "button",
    { type: "button", class: "enlarge", "aria-label": spoken },
    thumbnail(slot, data, heat, view, "eager", ""),
  );
  const facts = [...labels, `row ${row}`, patch].filter(Boolean);
  enlarge.addEventListener("click", () => showLarge(slot, data, heat, view, [value, ...facts]));
  const chosen = data.labels(row)[about.labels.indexOf(view.label)];
  return make(
    "figure",
    { "data-value": data.values[slot], "data-row": row },
    enlarge,
    make(
      "figcaption",
      {},
      make("b", { class: "number" }, value),
      chosen ? inOneLine(chosen) : null,
      inOneLine(key, "key-name"),
    ),
  );
}

/**
 * Shows an image of a latent large, with all that is known about it.
 * @param {number} slot
 * @param {LatentData} data
 * @param {Uint8Array | null} heat
 * @param {State} view
 * @param {string[]} facts
 */
function showLarge(slot, data, heat, view, facts) {
  const box = /** @type {HTMLDialogElement} */ (at("large"));
  const leave = make("button", { type: "button", class: "icon", "aria-label": "Close (Esc)" }, "✕");
  const row = data.rows[slot];
  const visitImage = make("button", { type: "button" }, "All latents of this image");
  visitImage.addEventListener("click", () => openImage(row));
  box.replaceChildren(
    leave,
    largeImage(slot, data, heat, view),
    make("p", {}, make("b", {}, clipped(data.key(data.rows[slot])))),
    make("p", { class: "soft" }, clipped(facts.join(" · "))),
    imageStar(row, data.key(row)),
    visitImage,
  );
  box.showModal();
}

/**
 * The rows of a latent's images, each with its title. Rows without an image are left out.
 * @param {number} latent
 * @param {LatentData} data
 * @param {Uint8Array | null} heat
 * @param {State} view
 */
function imageRows(latent, data, heat, view) {
  const rows = about.rows.map((row) => {
    const slots = Array.from({ length: row.last - row.first }, (_, i) => row.first + i);
    const there = slots.filter((slot) => data.rows[slot] >= 0);
    const note = row.name === "silent" ? silentNote(data, view) : range(there, data);
    if (!there.length && row.name !== "silent") return null;
    if (row.name === "silent" && !data.silent[1]) return null;
    return make(
      "section",
      { class: `image-row row-${row.name}`, "aria-label": row.title },
      make("h3", {}, term(row.title, row.meaning), make("span", { class: "soft number" }, note)),
      make("div", { class: "grid" }, ...there.map((slot) => captioned(slot, data, heat, view))),
    );
  });
  const images = Number(numbers("image_count", view.label)[latent]);
  const all = images
    ? `It fires on ${count(images)} ${images === 1 ? "image" : "images"}: all are above.`
    : "It fires on no image.";
  const few = images <= about.top_images;
  rows.splice(1, 0, few ? make("p", { class: "soft" }, all) : null);
  return make("div", { class: "image-rows" }, ...rows);
}

/**
 * The activations of a row, from the largest to the smallest.
 * @param {number[]} slots
 * @param {LatentData} data
 */
function range(slots, data) {
  const values = slots.map((slot) => Number(data.values[slot]));
  const [most, least] = [Math.max(...values), Math.min(...values)].map((x) => number(x, 2));
  return most === least ? most : `${most} to ${least}`;
}

/**
 * On how many images with its label a latent is silent.
 * @param {LatentData} data
 * @param {State} view
 */
function silentNote({ silent: [index, n, silent] }, view) {
  const label = about.labels[index];
  const text = texts("top_label", label)[Number(view.latent)] ?? "";
  return `${count(silent)} of ${count(n)} drawn with ${label} = ${clipped(text)}`;
}

/**
 * The controls for how to show where the latent fires; null for a stream without patches.
 * @param {State} view
 */
function heatLegend(view) {
  if (!about.grid) return null;
  const buttons = heatModes.map(([mode, text]) => {
    const isOn = String(view.heat === mode);
    const apply = () => go({ heat: mode });
    return make("button", { type: "button", "aria-pressed": isOn, onclick: apply }, text);
  });
  const group = { class: "segments", role: "group", "aria-label": "How to show where it fires" };
  const modes = make("div", group, ...buttons);
  if (view.heat === "off") return modes;
  if (view.heat === "contour") {
    const meaning =
      "The line surrounds the patches with at least half of the latent's largest activation. " +
      "If an image has none, the line is thin, at half of the latent's largest activation there.";
    return make("div", { class: "legend" }, modes, term("at half of the largest", meaning));
  }
  const slider = make("input", {
    type: "range",
    min: 10,
    max: 100,
    step: 5,
    value: view.strength,
    "aria-label": "Strength of the overlay",
    oninput: (input) => go({ strength: Number(typed(input)) }),
  });
  const stops = ramp
    .map((c, i) => `rgb(${c.join(" ")} / ${Math.sqrt(i / (ramp.length - 1))})`)
    .join(",");
  const gradient = make("i", { style: `background:linear-gradient(90deg,${stops})` });
  const scale = make("span", { class: "scale" }, "0", gradient, "its largest");
  return make("div", { class: "legend" }, modes, slider, view.heat === "colour" ? scale : null);
}
