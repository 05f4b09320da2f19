// What the reader says about latents: stars, names and notes. The browser keeps them, for the
// dictionary. They can be saved to a file, and read from one. Beside them are the names that the
// settings give to all readers.

/**
 * @typedef {object} Note
 * @property {boolean} star
 * @property {string} name the reader's own
 * @property {string} text
 */

/** @type {Map<number, Note>} */
let notes = new Map();

/** Which dictionary the notes are about. Other analyses of it share them. */
const subject = () => `${about.run.trained_on}/${about.run.vit}/${about.run.sae}`;
const shelf = () => `saev notes: ${subject()}`;

/**
 * What others say about latents: what the settings name.
 * @type {Map<number, GivenNamed[]>}
 */
const namings = new Map();

/** Reads the names that lie beside the page. */
async function readGiven() {
  await load("given.js", "given");
  for (const one of /** @type {GivenNamed[]} */ (saevData.given)) {
    namings.set(one.latent, [...(namings.get(one.latent) ?? []), one]);
  }
}

/** @param {number} latent */
const givenTo = (latent) => namings.get(latent) ?? [];

/**
 * One name that somebody gave, with who did, and its score.
 * @param {GivenNamed} one
 */
function givenLines(one) {
  const { name: called, note, author, score } = one;
  const said = [called || note, author && `(${author})`].filter(Boolean).join(" ");
  const line = make("p", { class: "fact given" }, "✎", inOneLine(said));
  const quizzed = quizLine(one);
  const lines = quizzed ? [line, quizzed] : [line];
  if (!score || score.hits === null) return lines;
  const right = term(`fits ${score.hits} of ${score.n} held out`, scoreTold(score));
  const scored = make("p", { class: "fact soft scored" }, right, make("span", {}, "chance 20 %"));
  return [...lines, scored];
}

/**
 * What the score of a name says.
 * @param {NameScore} score
 */
function scoreTold(score) {
  const { hits, n, interval, fewest } = score;
  const images = `${n} held-out image${n === 1 ? "" : "s"}`;
  if (hits === null || !interval) {
    const elsewhere = `${images} that aren't among its top images`;
    return `No score: it fires on ${elsewhere}, and ${fewest} are needed.`;
  }
  const [low, high, all] = [...interval, hits / n].map((end) => Math.round(100 * end));
  return (
    `By the model's text tower, the nearest of five names of this dictionary to ${hits} of ` +
    `${images}: ${all} % (${low} to ${high}). Chance is 20 %.`
  );
}

/** @param {number} latent */
const noteOf = (latent) => notes.get(latent) ?? { star: false, name: "", text: "" };

/**
 * What the browser has kept. Some browsers keep nothing for files.
 * @param {string} where
 */
function keptOn(where) {
  try {
    return JSON.parse(localStorage.getItem(where) ?? "null");
  } catch {
    return null;
  }
}

/** Reads what the browser has kept. */
function readNotes() {
  notes = parsedNotes(keptOn(shelf())) ?? notes;
  starredImages = parsedStars(keptOn(starShelf())) ?? starredImages;
  answers = parsedAnswers(keptOn(quizShelf())) ?? answers;
}

/**
 * Notes from JSON; null if it holds none, or those of another dictionary.
 * @param {any} content
 * @returns {Map<number, Note> | null}
 */
function parsedNotes(content) {
  if (content?.format !== "saev notes" || content.version !== 1) return null;
  if (content.dictionary !== subject() || !Array.isArray(content.latents)) return null;
  /** @type {Map<number, Note>} */
  const found = new Map();
  for (const { latent, star, name: called, note } of content.latents) {
    if (!Number.isInteger(latent) || latent < 0 || latent >= about.n_latents) return null;
    found.set(latent, {
      star: star === true,
      name: String(called ?? ""),
      text: String(note ?? ""),
    });
  }
  return found;
}

/** All notes as JSON: latent by latent, then the starred images, and the answers of the quiz. */
function notesAsJson() {
  const latents = [...notes.entries()]
    .sort(([a], [b]) => a - b)
    .map(([latent, { star, name: called, text }]) => ({ latent, star, name: called, note: text }));
  const heading = { format: "saev notes", version: 1, dictionary: subject() };
  return JSON.stringify(
    { ...heading, latents, images: starsAsData(), quiz: answersAsData() },
    null,
    1,
  );
}

/**
 * Changes what is kept about a latent.
 * @param {number} latent
 * @param {Partial<Note>} change
 */
function annotate(latent, change) {
  const note = { ...noteOf(latent), ...change };
  if (note.star || note.name || note.text) notes.set(latent, note);
  else notes.delete(latent);
  keepNotes();
}

/** Keeps the notes in the browser, and shows the list anew. */
function keepNotes() {
  keepOn(shelf(), notesAsJson());
  render();
}

/**
 * Keeps a text in the browser. What is drawn of the list is no longer right.
 * @param {string} where
 * @param {string} text
 */
function keepOn(where, text) {
  try {
    localStorage.setItem(where, text);
  } catch {
    at("refused").textContent = "This browser keeps no notes for this page: save them to a file.";
  }
  listed = drawn = "";
}

/**
 * Fields for the reader's name and note of a latent.
 * @param {number} latent
 */
function noteFields(latent) {
  const note = noteOf(latent);
  const field = make("input", { type: "text", value: note.name, "aria-label": "Your name for it" });
  field.placeholder = "your name for it";
  field.addEventListener("change", () => annotate(latent, { name: field.value }));
  const text = make("textarea", { rows: 2, value: note.text, "aria-label": "Your note" });
  text.placeholder = "note";
  text.addEventListener("change", () => annotate(latent, { text: text.value }));
  const meaning =
    "kept in this browser only. Save all of them to a file, or read one, at the end of the list";
  const title = make("h3", {}, term("Your name and note", meaning));
  const others = givenTo(latent).flatMap((one) => {
    const { name: called, note: said, author, score } = one;
    const by = make("span", { class: "soft" }, author ? `(${author})` : "");
    const line = make("p", { class: "given" }, make("b", {}, called), ` ${said} `, by);
    const scored = score ? make("p", { class: "soft scored" }, scoreTold(score)) : "";
    return [line, scored, quizLine(one) ?? ""];
  });
  const fromOthers = others.length ? [make("h3", {}, "Given names"), ...others] : [];
  const quizzed = quizLine({ latent, name: note.name });
  return make("section", { class: "note" }, title, field, quizzed, text, ...fromOthers);
}

/**
 * What the reader says about a latent, on its card; null if nothing.
 * @param {number} latent
 */
function noteLine(latent) {
  const { star, name: called, text } = noteOf(latent);
  if (!star && !called && !text) return null;
  const mark = star ? "★" : "✎";
  return make("p", { class: "fact yours" }, mark, inOneLine(called || text || "starred"));
}
