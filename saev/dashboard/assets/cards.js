// The cards: a page of latents. Each card shows a latent's strongest images and its figures.

/** @param {number} latent */
function card(latent) {
  const view = state;
  const called = nameOf(latent, view.label);
  const link = make(
    "a",
    {
      class: "open-latent",
      id: `card-${latent}`,
      href: address({ latent }),
      onclick: (click) => {
        if (click.ctrlKey || click.metaKey || click.shiftKey) return;
        click.preventDefault();
        openLatent(latent);
      },
    },
    noImages(),
    make(
      "span",
      { class: "name" },
      make("b", {}, called === null ? `Latent ${latent}` : inOneLine(called)),
      make("span", { class: "number" }, called === null ? "" : `${latent}`),
    ),
  );
  return make(
    "article",
    { class: "card" },
    link,
    make(
      "div",
      { class: "about" },
      ...labelLines(latent, view.label, called),
      cardFigures(latent, view.label),
      badges(latent, view.label),
      suggestion(latent),
      noteLine(latent),
      quizLine({ latent, name: noteOf(latent).name }),
      ...givenTo(latent).flatMap(givenLines),
    ),
  );
}

/**
 * The word of the vocabulary that is suggested for a latent; null if there is none.
 * @param {number} latent
 */
function suggestion(latent) {
  if (!about.evaluation?.columns.includes("suggested")) return null;
  const word = texts("suggested", "")[latent];
  if (word === null) return null;
  return make(
    "p",
    { class: "fact soft suggested" },
    term("suggested:", columnOf("suggested").meaning),
    inOneLine(word),
    make("span", { class: "push" }, "(vocabulary)"),
  );
}

/**
 * What a latent's label rests on: its share of the top images over its base rate, and the most
 * common label of all images on which it fires.
 * @param {number} latent
 * @param {string} label
 * @param {string | null} called
 */
function labelLines(latent, label, called) {
  if (!label) return [];
  const strongest = texts("top_label", label)[latent];
  if (strongest === null) return [];
  const said = evidence(latent, label);
  const common = texts("common_label", label)[latent] ?? strongest;
  const of = numbers("label_purity", label)[latent];
  const all = absent(of) ? "too few" : percent(of);
  return [
    called === null
      ? make("p", { class: "fact" }, inOneLine(strongest, "soft"), make("span", {}, said))
      : make("p", { class: "fact" }, make("span", { class: "strong" }, said)),
    bar(numbers("label_purity_top", label)[latent], numbers("top_label_base", label)[latent]),
    make(
      "p",
      { class: "fact soft" },
      make("span", {}, "of all firing:\u00a0"),
      inOneLine(common),
      make("span", { class: "push" }, all),
    ),
  ];
}

/**
 * A share as a bar, with a tick at the share that chance gives.
 * @param {Amount} part
 * @param {Amount} base
 */
const bar = (part, base) =>
  make(
    "div",
    { class: "meter" },
    make("i", { style: `width:${100 * (part ?? 0)}%` }),
    make("b", { style: `left:${100 * (base ?? 0)}%` }),
  );

/**
 * Why a latent may say little, in a word each; null if there is no reason.
 * @param {number} latent
 * @param {string} label
 */
function badges(latent, label) {
  const reasons = ["positional", "dense"].filter((reason) => numbers(reason, label)[latent]);
  if (!reasons.length) return null;
  return make("p", { class: "badges" }, ...reasons.map((text) => make("span", {}, text)));
}

/**
 * @param {number} latent
 * @param {string} label
 */
function cardFigures(latent, label) {
  const entries = about.card.map((place) => {
    const column = columnOf(place.column);
    return entry(place.title, written(column, latent, label, 2), null);
  });
  return make("dl", { class: "figures" }, ...entries);
}

/** What the figures of the cards mean, in one text. */
function cardMeanings() {
  const meanings = about.card.map((place) => {
    const column = columnOf(place.column);
    return `${place.title}: ${filled(place.note, 0, state.label) || column.meaning}`;
  });
  if (about.labels.length) {
    meanings.unshift(
      "name: the most common label of the top images, with how many have it, and its share of " +
        "all images (base, the tick on the bar)",
    );
  }
  return `${meanings.join(". ")}.`;
}

/** @param {number} page */
const latentsOn = (page) => shown.slice(page * PAGE, (page + 1) * PAGE);

/** Draws the cards of the page that the state names. */
function showCards() {
  const page = latentsOn(state.page);
  const none = make("p", { class: "nothing" }, "No latent passes these filters.");
  at("cards").replaceChildren(...(page.length ? page.map(card) : [none]));
  fillCards(page);
}

/**
 * Brings the card of a latent into view, if it is on another page than where the reader left.
 * @param {number} latent
 */
function revealCard(latent) {
  const link = document.getElementById(`card-${latent}`);
  link?.focus({ preventScroll: true });
  if (state.page !== listPage) link?.closest(".card")?.scrollIntoView({ block: "nearest" });
}
