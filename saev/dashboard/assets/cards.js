// The cards: a page of latents. Each card shows a latent's strongest images and its figures.

const CARD_IMAGES = 9;

/** @param {number} latent */
function card(latent) {
  const view = state;
  const first = nameOf(latent, view.label);
  const images = written(columnOf("image_count"), latent, view.label);
  return make(
    "a",
    {
      class: "card",
      href: address({ latent }),
      "aria-label": `Latent ${latent}${first === null ? "" : `, ${first}`}, on ${images} images`,
      onclick: (click) => {
        if (click.ctrlKey || click.metaKey || click.shiftKey) return;
        click.preventDefault();
        go({ latent });
      },
    },
    cardImages(latent, view),
    make(
      "div",
      { class: "about" },
      make(
        "div",
        { class: "name" },
        make("b", {}, first ?? `Latent ${latent}`),
        first === null ? null : make("span", { class: "number" }, `${latent}`),
      ),
      meter(latent, view.label),
      cardFigures(latent, view.label),
    ),
  );
}

/**
 * A latent's strongest images. They appear when their data has loaded.
 * @param {number} latent
 * @param {State} view
 */
function cardImages(latent, view) {
  const places = Array.from({ length: Math.min(CARD_IMAGES, about.top_images) }, (_, i) => i);
  const empty = places.map(() => make("div", { class: "picture" }));
  const images = make("div", { class: "pictures" }, ...empty);
  dataOf(latent).then((data) => {
    images.replaceChildren(...places.map((i) => thumbnail(i, data, null, view, "lazy")));
  }, fail);
  return images;
}

/**
 * A latent's purity as a bar; null without labels.
 * @param {number} latent
 * @param {string} label
 */
function meter(latent, label) {
  if (!label) return null;
  const purity = numbers("label_purity_top", label)[latent];
  const filling = make("i", { style: `width:${100 * (purity ?? 0)}%` });
  return make("div", { class: "meter", title: `purity ${share(purity)}` }, filling);
}

/**
 * @param {number} latent
 * @param {string} label
 */
function cardFigures(latent, label) {
  const entries = about.card.map((place) => {
    const column = columnOf(place.column);
    const help = filled(place.note, latent, label) || column.meaning;
    return entry(place.title, written(column, latent, label, 2), help || null);
  });
  return make("dl", { class: "figures" }, ...entries);
}

function showCards() {
  const page = shown.slice(state.page * PAGE, (state.page + 1) * PAGE);
  const none = make("p", { class: "nothing" }, "No latent passes these filters.");
  at("cards").replaceChildren(...(page.length ? page.map(card) : [none]));
}
