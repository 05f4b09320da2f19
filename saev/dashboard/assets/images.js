// The images of a latent, and what it sees in them.

// Perceptually uniform, from dark to light, so it works for every kind of colour vision.
const ramp = [
  [0, 0, 4],
  [66, 10, 104],
  [147, 38, 103],
  [221, 81, 58],
  [252, 165, 10],
  [252, 255, 164],
];

/** @param {number} v 0 to 1 */
function colour(v) {
  const place = v * (ramp.length - 1);
  const i = Math.min(Math.floor(place), ramp.length - 2);
  return ramp[i].map((c, j) => c + (place - i) * (ramp[i + 1][j] - c));
}

/** @type {[string, string][]} */
const heatModes = [
  ["contour", "contour"],
  ["spotlight", "spotlight"],
  ["colour", "heat map"],
  ["off", "images only"],
];

/**
 * A heat map as pixels, one for each patch.
 * @param {number[]} grid height and width, in patches
 * @param {Uint8Array} heat
 * @param {number} slot place among the latent's images
 * @param {State} view
 */
function heatMap([height, width], heat, slot, view) {
  const pixels = new ImageData(width, height);
  for (let p = 0; p < width * height; p++) {
    const v = heat[slot * width * height + p] / 255;
    // The spotlight covers what the latent doesn't see, in a gray that shows on white and on black.
    // The heat map is clear where the latent is silent, so that the image is never darkened there.
    const [r, g, b] = view.heat === "colour" ? colour(v) : [52, 58, 72];
    const strength =
      (view.strength / 100) * (view.heat === "colour" ? Math.sqrt(v) : 1 - Math.sqrt(v));
    pixels.data.set([r, g, b, Math.round(255 * strength)], 4 * p);
  }
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
  return canvas;
}

/**
 * The border of the patches on which a latent reaches half of its largest activation. Where it
 * doesn't in this image, the border is thin, at half of its largest activation here.
 * @param {number[]} grid height and width, in patches
 * @param {Uint8Array} heat
 * @param {number} slot place among the latent's images
 */
function contour([height, width], heat, slot) {
  const values = heat.subarray(slot * width * height, (slot + 1) * width * height);
  const most = values.reduce((x, y) => Math.max(x, y), 0);
  const weak = most < 127.5;
  const level = Math.max(1, weak ? most / 2 : 127.5);
  /**
   * @param {number} line
   * @param {number} column
   */
  const inside = (line, column) =>
    line >= 0 &&
    column >= 0 &&
    line < height &&
    column < width &&
    values[line * width + column] >= level;
  let edges = "";
  for (let line = 0; line < height; line++) {
    for (let column = 0; column < width; column++) {
      if (!inside(line, column)) continue;
      if (!inside(line - 1, column)) edges += `M${column} ${line}h1`;
      if (!inside(line + 1, column)) edges += `M${column} ${line + 1}h1`;
      if (!inside(line, column - 1)) edges += `M${column} ${line}v1`;
      if (!inside(line, column + 1)) edges += `M${column + 1} ${line}v1`;
    }
  }
  const look = weak ? "contour weak" : "contour";
  const plot = draw("svg", {
    viewBox: `0 0 ${width} ${height}`,
    preserveAspectRatio: "none",
    class: look,
    "aria-hidden": "true",
  });
  plot.append(
    draw("path", { d: edges, class: "below" }),
    draw("path", { d: edges, class: "above" }),
  );
  return plot;
}

/**
 * Places a node on an image. An image that isn't square is centred in its box.
 * @param {HTMLElement | SVGElement} node
 * @param {HTMLImageElement} image
 * @param {[left: number, top: number, width: number, height: number]} part of the image, 0 to 1
 */
function fit(node, image, [left, above, width, height]) {
  const place = () => {
    const longer = Math.max(image.naturalWidth, image.naturalHeight) || 1;
    const across = (image.naturalWidth || 1) / longer;
    const down = (image.naturalHeight || 1) / longer;
    Object.assign(node.style, {
      left: `${50 - 50 * across + 100 * across * left}%`,
      top: `${50 - 50 * down + 100 * down * above}%`,
      width: `${100 * across * width}%`,
      height: `${100 * down * height}%`,
    });
  };
  if (image.complete) place();
  else image.addEventListener("load", place);
}

/** Which part of an image a crop shows, of its longer side, and how many patches at least. */
const CROP = 0.4;
const CROP_PATCHES = 3;

/**
 * The square around a patch of an image. At the border, the patch isn't in the middle.
 * @param {number} row
 * @param {number[]} grid height and width, in patches
 * @param {number} patch
 */
function crop(row, [lines, columns], patch) {
  const image = make("img", { src: thumbnailName(row), alt: "", decoding: "async" });
  const place = () => {
    const [across, down] = [image.naturalWidth, image.naturalHeight];
    const least = CROP_PATCHES * Math.max(across / columns, down / lines);
    const side = Math.min(across, down, Math.max(CROP * Math.max(across, down), least));
    /**
     * @param {number} middle
     * @param {number} whole the image's length
     */
    const from = (middle, whole) => Math.min(Math.max(0, middle - side / 2), whole - side);
    const left = from((((patch % columns) + 0.5) * across) / columns, across);
    const above = from(((Math.floor(patch / columns) + 0.5) * down) / lines, down);
    Object.assign(image.style, {
      width: `${(100 * across) / side}%`,
      height: `${(100 * down) / side}%`,
      left: `${(-100 * left) / side}%`,
      top: `${(-100 * above) / side}%`,
    });
  };
  image.addEventListener("load", place);
  return make("span", { class: "picture crop" }, image);
}

/**
 * An image with a frame on a patch, if there is one and the reader wants more than images. Without
 * an image, the place stays empty.
 * @param {number | undefined} row −1 for none
 * @param {number} patch −1 for none
 * @param {"lazy" | "eager"} loads lazily: once it is near to what can be seen
 * @param {string} [spoken] what a screen reader says
 */
function framed(row, patch, loads, spoken = "") {
  if (row === undefined || row < 0) return make("span", { class: "picture absent" });
  const look = { alt: spoken, loading: loads, decoding: "async" };
  const image = make("img", { src: thumbnailName(row), ...look });
  const box = make("span", { class: "picture" }, image);
  if (about.grid && patch >= 0 && state.heat !== "off") {
    box.append(frameOn(image, about.grid, patch));
  }
  return box;
}

/**
 * One image of a latent, as the model saw it, with a map of where it fires. Without a map, a frame
 * is on the strongest patch.
 * @param {number} slot place among the latent's images
 * @param {Pick<LatentData, "rows" | "values" | "patches" | "key">} data
 * @param {Uint8Array | null} heat
 * @param {State} view
 * @param {"lazy" | "eager"} loads lazily: once it is near to what can be seen
 * @param {string} [spoken] what a screen reader says, if not the image's name
 */
function thumbnail(slot, data, heat, view, loads, spoken) {
  const row = data.rows[slot];
  const alt = spoken ?? (row >= 0 ? clipped(data.key(row)) : "");
  if (!heat) return framed(row, data.patches[slot], loads, alt);
  const box = framed(row, -1, loads, alt);
  const image = box.querySelector("img");
  const silent = !data.values[slot];
  if (!image || !about.grid || (silent && view.heat !== "spotlight")) return box;
  const map =
    view.heat === "contour"
      ? contour(about.grid, heat, slot)
      : heatMap(about.grid, heat, slot, view);
  box.append(map);
  fit(map, image, [0, 0, 1, 1]);
  return box;
}

/**
 * A frame on a patch of an image.
 * @param {HTMLImageElement} image
 * @param {number[]} grid height and width, in patches
 * @param {number} patch
 * @param {string} [kind] class of the frame
 */
function frameOn(image, [lines, columns], patch, kind = "") {
  const [line, column] = [Math.floor(patch / columns), patch % columns];
  const frame = make("span", { class: `frame ${kind}` });
  fit(frame, image, [column / columns, line / lines, 1 / columns, 1 / lines]);
  return frame;
}

/**
 * The same from the large file, to look at closely.
 * @param {number} slot
 * @param {Pick<LatentData, "rows" | "values" | "patches" | "key">} data
 * @param {Uint8Array | null} heat
 * @param {State} view
 * @param {string} [spoken] what a screen reader says, if not the image's name
 */
function largeImage(slot, data, heat, view, spoken) {
  const box = thumbnail(slot, data, heat, view, "eager", spoken);
  const image = box.querySelector("img");
  if (image) image.src = largeName(data.rows[slot]);
  return box;
}
