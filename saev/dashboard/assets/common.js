// Shared by both pages. Text from data always stays text: nothing here parses markup.
"use strict";

/**
 * What an element is made with. Names on… are listeners, the others properties or attributes.
 * @typedef {{
 *   [property: string]: unknown,
 *   onclick?: (click: MouseEvent) => void,
 *   onkeydown?: (press: KeyboardEvent) => void,
 *   oninput?: (change: Event) => void,
 *   onchange?: (change: Event) => void,
 * }} Properties
 */
/** @typedef {Node | string | null | undefined} Child */
/** @typedef {number | null | undefined} Amount */

/**
 * Makes an HTML element. Absent properties and children are left out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Properties} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (absent(value) || value === false) continue;
    if (key === "class") node.className = String(value);
    else if (key.startsWith("on")) {
      node.addEventListener(key.slice(2), /** @type {EventListener} */ (value));
    } else if (key in node && key !== "list") Object.assign(node, { [key]: value });
    else node.setAttribute(key, String(value));
  }
  node.append(...children.filter((child) => !absent(child)));
  return node;
}

/**
 * Makes an SVG element.
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {...(Node | string)} children
 * @returns {SVGElementTagNameMap[Tag]}
 */
function draw(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  node.append(...children);
  return node;
}

/**
 * The element of the page with this id.
 * @param {string} id
 */
const at = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

// A missing figure is shown as missing, never as 0 or NaN.
const missing = "–";

/**
 * @param {unknown} x
 * @returns {x is null | undefined}
 */
const absent = (x) => x === null || x === undefined;

/** @param {Amount} x */
const number = (x, digits = 3) =>
  absent(x)
    ? missing
    : Number(x.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits });

/** @param {Amount} x */
const count = (x) => (absent(x) ? missing : x.toLocaleString("en"));

/** @param {Amount} x */
const percent = (x) => (absent(x) ? missing : `${number(100 * x, 2)} %`);

/** @param {Amount} x */
const share = (x, digits = 2) => (absent(x) ? missing : x.toFixed(digits));

/**
 * A table. The first cell of each row is its header.
 * @param {string} caption
 * @param {[string, (string | null)?][]} heads titles and tooltips
 * @param {Child[][]} rows
 */
function table(caption, heads, rows) {
  const head = heads.map(([text, title]) =>
    make("th", { scope: "col", title: title || null }, text),
  );
  const lines = rows.map(([first, ...cells]) => {
    const rest = cells.map((text) => make("td", {}, text));
    return make("tr", {}, make("th", { scope: "row" }, first), ...rest);
  });
  return make(
    "table",
    {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...head)),
    make("tbody", {}, ...lines),
  );
}

/**
 * A figure below its title, for a `dl`.
 * @param {string} title
 * @param {string} value
 * @param {string | null} help tooltip
 * @param {string | null} [note] small print
 */
function entry(title, value, help, note = null) {
  const small = note === null ? null : make("small", {}, note);
  return make("div", { title: help }, make("dt", {}, title), make("dd", {}, value, small));
}
