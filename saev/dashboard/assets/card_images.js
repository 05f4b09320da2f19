// The images of the cards. Each is a file, and a browser takes a millisecond or more for each. So
// those that can be seen come first, and those of the next page are read before they are asked for.

/** The place for a latent's strongest images. */
function noImages() {
  const empty = Array.from({ length: stripLength() }, () => make("span", { class: "picture" }));
  return make("span", { class: "pictures" }, ...empty);
}

/** Settles once the cards that can be seen have their images, which may still be loading. */
let cardsFilled = Promise.resolve();

/**
 * Puts the images on the cards of the list.
 * @param {number[]} page their latents
 */
function fillCards(page) {
  const cards = [...at("cards").children];
  const isSeen = cards.map(isInWindow);
  /**
   * @param {boolean} which
   * @param {"lazy" | "eager"} loads
   */
  const put = (which, loads) =>
    Promise.all(page.map((latent, i) => isSeen[i] === which && fillCard(latent, cards[i], loads)));
  const first = put(true, "eager");
  cardsFilled = first.then(() => {});
  first
    .then(async () => {
      await arrived(cards);
      await put(false, "lazy");
      await arrived(cards);
      if (cards[0].isConnected) await readAhead(isSeen.filter(Boolean).length);
    })
    .catch(fail);
}

/** @param {Element} node */
function isInWindow(node) {
  const place = node.getBoundingClientRect();
  return place.bottom > 0 && place.top < window.innerHeight;
}

/**
 * Puts a latent's strongest images on its card, if that is still there.
 * @param {number} latent
 * @param {Element} place the card
 * @param {"lazy" | "eager"} loads
 */
async function fillCard(latent, place, loads) {
  try {
    const { rows, patches } = await strongestOf(latent);
    if (!place.isConnected) return;
    const places = Array.from({ length: stripLength() }, (_, i) => i);
    const images = places.map((i) => framed(rows[i], patches[i], loads));
    place.querySelector(".pictures")?.replaceChildren(...images);
  } catch (error) {
    fail(/** @type {Error} */ (error));
  }
}

/** How long others wait for images at most, in milliseconds: a host may be slow. */
const PATIENCE = 500;

/**
 * Waits until the images on cards are there.
 * @param {Element[]} cards
 */
function arrived(cards) {
  const images = cards.flatMap((one) => [...one.querySelectorAll("img")]);
  return Promise.race([
    Promise.allSettled(images.map((image) => image.decode())),
    new Promise((done) => setTimeout(done, PATIENCE)),
  ]);
}

/**
 * The images that the reader would see next. They stay in memory while they are here.
 * @type {Set<HTMLImageElement>}
 */
const ahead = new Set();

/**
 * Reads what the next page, or another order, shows first.
 * @param {number} n how many cards can be seen
 */
async function readAhead(n) {
  await loadStrongest();
  const latents = latentsOn(state.page + 1).slice(0, n);
  ahead.clear();
  for (const { rows } of await Promise.all(latents.map(strongestOf))) {
    for (let i = 0; i < stripLength(); i++) {
      if (rows[i] >= 0) ahead.add(make("img", { src: thumbnailName(rows[i]) }));
    }
  }
}
