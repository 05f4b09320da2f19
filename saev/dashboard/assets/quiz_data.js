// The quiz for names: its questions, and the reader's answers, which the browser keeps.

/** A question offers as many names, of different texts. */
const QUIZ_NAMES = 5;
/** A share of fewer answers says nothing. */
const FEWEST_ANSWERS = 5;
/** How many of the names are right by chance. */
const QUIZ_CHANCE = `chance ${100 / QUIZ_NAMES} %`;

/** @typedef {{ latent: number, name: string }} Named a name that somebody gave to a latent */
/** @typedef {Named & { right: number[], wrong: number[] }} Answers rows of images */
/** @typedef {Named & { row: number, slot: number, options: string[] }} Question */

/** The reader's answers, by `nameKey`. @type {Map<string, Answers>} */
let answers = new Map();

/** Answers are about images, and analyses of other images share the names. */
const quizShelf = () => `${shelf()} quiz ${about.run.images}`;

/** @param {Named} one */
const nameKey = ({ latent, name: called }) => JSON.stringify([latent, called]);

/** @param {string} text */
const folded = (text) => text.trim().toLowerCase();

/**
 * The names that people gave: the reader's own, and those of the settings. Each text once a latent.
 * @returns {Named[]}
 */
function givenNames() {
  /** @type {Map<string, Named>} */
  const found = new Map();
  for (const latent of new Set([...notes.keys(), ...namings.keys()])) {
    for (const called of [noteOf(latent).name, ...givenTo(latent).map((one) => one.name)]) {
      const key = nameKey({ latent, name: folded(called) });
      if (folded(called) && !found.has(key)) found.set(key, { latent, name: called });
    }
  }
  return [...found.values()].sort((x, y) => x.latent - y.latent || (x.name < y.name ? -1 : 1));
}

/**
 * Places of the images that a latent is asked by: those drawn at random from all on which it fires,
 * but none of its top images.
 * @param {LatentData} data
 */
function quizSlots({ rows }) {
  const [strongest, random] = ["top", "random"].map((called) => rowOf(called));
  const tops = new Set(rows.slice(strongest.first, strongest.last));
  return Array.from({ length: random.last - random.first }, (_, i) => random.first + i).filter(
    (slot) => rows[slot] >= 0 && !tops.has(rows[slot]),
  );
}

/** @param {string} called */
const rowOf = (called) => /** @type {ImageRow} */ (about.rows.find((row) => row.name === called));

/**
 * The next question, drawn with a hash: the same for all who have the same names, and gave as many
 * answers. Null if none is left.
 * @param {Named[]} names
 * @returns {Promise<Question | null>}
 */
async function nextQuestion(names) {
  const n = [...answers.values()].reduce((sum, of) => sum + of.right.length + of.wrong.length, 0);
  for (const one of drawnOf(names, names.length, (other) => `${n} ${nameKey(other)}`)) {
    const data = await dataOf(one.latent);
    const { right, wrong } = answers.get(nameKey(one)) ?? { right: [], wrong: [] };
    const left = quizSlots(data).filter((i) => ![...right, ...wrong].includes(data.rows[i]));
    if (!left.length) continue;
    const [slot] = left;
    const row = data.rows[slot];
    const options = optionsOf(one, row, names);
    // Of two names of a latent, none is wrong.
    if (options.length === QUIZ_NAMES) return { ...one, row, slot, options };
  }
  return null;
}

/**
 * The names of a question: the latent's own and those of four others, in a random order.
 * @param {Named} one
 * @param {number} row
 * @param {Named[]} names
 */
function optionsOf(one, row, names) {
  const mine = names.filter(({ latent }) => latent === one.latent).map((same) => folded(same.name));
  /** @type {Map<string, string>} */
  const others = new Map();
  for (const { name: called } of names) {
    if (!mine.includes(folded(called))) others.set(folded(called), called);
  }
  const salt = `${nameKey(one)} ${row}`;
  const wrong = drawnOf([...others.values()], QUIZ_NAMES - 1, (text) => `${salt} ${text}`);
  return drawnOf([one.name, ...wrong], QUIZ_NAMES, (text) => `order ${salt} ${text}`);
}

/**
 * Keeps an answer.
 * @param {Question} question
 * @param {string} text the name that was picked
 */
function answered({ latent, name: called, row }, text) {
  const one = { latent, name: called };
  const { right, wrong } = answers.get(nameKey(one)) ?? { right: [], wrong: [] };
  (text === called ? right : wrong).push(row);
  answers.set(nameKey(one), { ...one, right, wrong });
  keepAnswers();
}

/** Keeps the answers in the browser. */
const keepAnswers = () => keepOn(quizShelf(), JSON.stringify(answersAsData()));

/** The answers as they are kept in the browser and in a file. */
const answersAsData = () => ({
  of: about.run.images,
  names: [...answers.values()].sort((x, y) => x.latent - y.latent),
});

/**
 * The answers in a file or in the browser. None if they are about other images; null if they can't
 * be read.
 * @param {any} content
 */
function parsedAnswers(content) {
  /** @type {typeof answers} */
  const found = new Map();
  if (content?.of !== about.run.images) return found;
  if (!Array.isArray(content.names)) return null;
  for (const { latent, name: called, right, wrong } of content.names) {
    const one = { latent, name: String(called), right, wrong };
    const isRow = (/** @type {unknown} */ row) => Number.isInteger(row);
    if (![right, wrong].every((rows) => Array.isArray(rows) && rows.every(isRow))) return null;
    found.set(nameKey(one), one);
  }
  return found;
}

/**
 * How often the reader picked a name where it was right: hits, of how many, and the interval; null
 * without an answer.
 * @param {Named} one
 */
function quizScore(one) {
  const of = answers.get(nameKey(one));
  if (!of) return null;
  const [hits, n] = [of.right.length, of.right.length + of.wrong.length];
  return { hits, n, interval: n < FEWEST_ANSWERS ? null : wilson(hits, n) };
}

/**
 * The score of a name in the reader's quiz; null with too few answers.
 * @param {Named} one
 */
function quizLine(one) {
  const score = quizScore(one);
  if (!score?.interval) return null;
  const [low, high, all] = [...score.interval, score.hits / score.n].map((x) =>
    Math.round(100 * x),
  );
  const meaning =
    `In the quiz, this browser's reader picked the name on ${score.hits} of ${score.n} images of ` +
    `its latent, out of ${QUIZ_NAMES} names: ${all} % (${low} to ${high}). ` +
    "Whoever has seen the name before may know it.";
  const said = term(`quiz: ${score.hits} of ${score.n} right`, meaning);
  return make("p", { class: "fact soft scored" }, said, make("span", {}, QUIZ_CHANCE));
}
