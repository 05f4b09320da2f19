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
  for (let [key, value] of Object.entries(properties)) {
    if (absent(value) || value === false) continue;
    if (spokenOrShown.has(key)) value = plain(value);
    if (key === "class") node.className = String(value);
    else if (key.startsWith("on")) {
      node.addEventListener(key.slice(2), /** @type {EventListener} */ (value));
    } else if (key in node && key !== "list") Object.assign(node, { [key]: value });
    else node.setAttribute(key, String(value));
  }
  node.append(...children.filter((child) => !absent(child)).map(plain));
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
  node.append(...children.map(plain));
  return node;
}

// Characters that change the direction of a text, or can't be seen, could make a name look like
// another one. They are shown by their numbers.
const unseen = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\u2028\u2029]/gu;
const spokenOrShown = new Set(["alt", "title", "aria-label", "value", "placeholder"]);

/** @param {string} character */
const byNumber = (character) =>
  `\u27e8${character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;

/**
 * A text as it can be shown; anything else unchanged.
 * @template Shown
 * @param {Shown} text
 * @returns {Shown}
 */
const plain = (text) =>
  typeof text === "string"
    ? /** @type {Shown} */ (text.replace(/\n/g, " \u00b7 ").replace(unseen, byNumber))
    : text;

const LONG = 300;

/**
 * A text that may be long: cut in the middle, as its end often tells it from others.
 * @param {string} text
 */
const clipped = (text) =>
  text.length > LONG ? `${text.slice(0, LONG / 2)} \u2026 ${text.slice(-LONG / 2)}` : text;

const TAIL = 14;

/**
 * A text in one line. If it doesn't fit, its middle is left out, and its end stays.
 * @param {string} text
 * @param {string} [kind] class of the element
 */
function inOneLine(text, kind = "") {
  const whole = clipped(text);
  const cut = Math.max(Math.ceil(whole.length / 2), whole.length - TAIL);
  return make(
    "span",
    { class: `ends ${kind}`, title: whole },
    cut ? make("span", { class: "head" }, whole.slice(0, cut)) : null,
    make("span", { class: "tail" }, whole.slice(cut)),
  );
}

/**
 * A term with an explanation, which opens with a click, a touch or a key.
 * @param {string} text
 * @param {string | null | undefined} meaning
 * @param {string} [spoken] what it is called, if the text says too little
 */
function term(text, meaning, spoken) {
  if (!meaning) return make("span", {}, text);
  const button = make(
    "button",
    { type: "button", class: "term", "aria-label": spoken ?? null, title: clipped(meaning) },
    text,
  );
  button.addEventListener("click", () => explain(button, meaning));
  return button;
}

/**
 * Shows an explanation below what it explains. The browser closes it with Esc or a click elsewhere.
 * @param {HTMLElement} owner
 * @param {string} meaning
 */
function explain(owner, meaning) {
  const tip = at("tip");
  tip.textContent = plain(clipped(meaning));
  tip.showPopover();
  const place = owner.getBoundingClientRect();
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  const above = place.bottom + tip.offsetHeight + 8 > window.innerHeight;
  tip.style.left = `${Math.max(8, Math.min(place.left, room))}px`;
  tip.style.top = `${above ? Math.max(8, place.top - tip.offsetHeight - 6) : place.bottom + 6}px`;
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
const absent = (x) => x === null || x === undefined || Number.isNaN(x);

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
  const head = heads.map(([text, meaning]) =>
    text ? make("th", { scope: "col" }, term(text, meaning)) : make("td", {}),
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
 * @param {string | null} meaning
 * @param {string | null} [note] small print
 */
function entry(title, value, meaning, note = null) {
  const small = note === null ? null : make("small", {}, note);
  return make("div", {}, make("dt", {}, term(title, meaning)), make("dd", {}, value, small));
}
