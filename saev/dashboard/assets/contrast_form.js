// The fields of the view Contrast: they choose both sides, and the order.

/**
 * @param {ContrastIndex} index
 * @param {Side[]} sides
 */
function contrastForm(index, [a, b]) {
  const swapped = { "": "", a: "b", b: "a" }[state.starred] ?? "";
  const swap = make(
    "button",
    {
      type: "button",
      id: "c-swap",
      class: "icon",
      "aria-label": "Swap the sides",
      onclick: () => go({ a: labelOf(b), b: labelOf(a), starred: swapped }),
    },
    "⇄",
  );
  const order = contrastChoice("by", "Order", [
    ["", "by share"],
    ["mean", "by mean"],
  ]);
  return make(
    "div",
    { class: "versus-form" },
    sideField("a", index, a, b),
    swap,
    sideField("b", index, b, a),
    contrastChoice("side", "On which side latents fire more", [
      ["", "either"],
      ["a", "left"],
      ["b", "right"],
    ]),
    state.starred ? null : order,
  );
}

/**
 * The text of a side for the address: empty if it is no label.
 * @param {Side} side
 */
const labelOf = ({ kind, text }) => (kind === "label" ? text : "");

/**
 * A menu of what can stand on a side: labels, the starred images, and beside these all others.
 * @param {"a" | "b"} key
 * @param {ContrastIndex} index
 * @param {Side} side
 * @param {Side} other
 */
function sideField(key, index, side, other) {
  const otherKey = key === "a" ? "b" : "a";
  const stays = { [otherKey]: labelOf(other) };
  /** @typedef {{ value: string, title: string, chosen: boolean, taken: boolean }} Option */
  /** @type {(Option & { change: Partial<State> })[]} */
  const options = index.texts.map((text, i) => ({
    value: text,
    title: `${clipped(text)} (${count(index.images[i])})`,
    chosen: side.kind === "label" && text === side.text,
    taken: other.kind === "label" && text === other.text,
    change: { ...stays, [key]: text, starred: state.starred === key ? "" : state.starred },
  }));
  const starred = {
    value: "★",
    title: `★ starred images (${count(starredImages.size)})`,
    chosen: side.kind === "starred",
    taken: other.kind === "starred",
    change: { ...stays, [key]: "", starred: key },
  };
  const others = {
    value: "",
    title: "all other images",
    chosen: side.kind === "others",
    taken: false,
    change: { ...stays, [key]: "" },
  };
  options.unshift(...(state.starred === otherKey ? [others] : [starred]));
  const choice = make(
    "select",
    { id: `c-${key}-side`, "aria-label": `Images on the ${key === "a" ? "left" : "right"}` },
    ...options.map(({ value, title, chosen, taken }) =>
      make("option", { value, selected: chosen, disabled: taken }, title),
    ),
  );
  // The text of a label may hold characters that aren't shown as they are.
  choice.addEventListener("change", () => go(options[choice.selectedIndex].change));
  return make("span", { class: `side-field of-${key}` }, choice);
}

/**
 * Buttons of which one is pressed.
 * @param {"side" | "by"} key of the state
 * @param {string} spoken
 * @param {[string, string][]} choices values and texts
 */
function contrastChoice(key, spoken, choices) {
  const buttons = choices.map(([value, text]) =>
    make(
      "button",
      {
        type: "button",
        id: `c-${key}-${value}`,
        "aria-pressed": String(state[key] === value),
        onclick: () => go({ [key]: value }),
      },
      text,
    ),
  );
  return make("div", { class: "segments", role: "group", "aria-label": spoken }, ...buttons);
}
