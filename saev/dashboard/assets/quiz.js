// The view Quiz: does a name fit an image on which its latent fires? The reader picks one of five.

/** The question on the page. @type {Question | null} */
let question = null;
/** The name that the reader has picked for it; empty until then. */
let guess = "";

/** Shows the view. */
async function showQuiz() {
  const names = givenNames();
  if (new Set(names.map((one) => folded(one.name))).size < QUIZ_NAMES) {
    question = null;
    at("view-quiz").replaceChildren(make("p", { class: "nothing" }, tooFewNames(names)));
    return;
  }
  try {
    const stands = names.some((one) => question && nameKey(one) === nameKey(question));
    if (!stands) await ask(names);
    else await drawQuiz(names);
  } catch (error) {
    failIn("view-quiz", error);
  }
}

/** @param {Named[]} names */
const tooFewNames = (names) =>
  `The quiz asks which of ${QUIZ_NAMES} names fits an image. This page has ` +
  `${count(names.length)} ${names.length === 1 ? "name" : "names"} so far: give some on the ` +
  "pages of latents, or read a file of notes below.";

/**
 * Draws the next question.
 * @param {Named[]} names
 */
async function ask(names) {
  question = await nextQuestion(names);
  guess = "";
  await drawQuiz(names);
}

/** @param {Named[]} names */
async function drawQuiz(names) {
  const now = question;
  const body = now ? await quizBody(now, names) : quizDone();
  if (state.view !== "quiz" || now !== question) return;
  at("view-quiz").replaceChildren(
    body,
    make("p", { class: "versus-said" }, quizMeaning()),
    ...quizScores(names),
  );
}

/** What the quiz shows and counts. */
const quizMeaning = () =>
  `An image on which a named latent fires, and ${QUIZ_NAMES} names: its own, and those of ` +
  `${QUIZ_NAMES - 1} other latents. So guessing is right on ${100 / QUIZ_NAMES} %. The image is ` +
  "drawn from all on which the latent fires, even weakly, but is none of its top images. It " +
  `is on the latent's page too, under “${rowOf("random").title}”, so you may have seen it. ` +
  "And you may know names that you gave: let somebody else play.";

/** What stands in place of a question when none is left. */
const quizDone = () =>
  make(
    "p",
    { class: "nothing" },
    "No question is left. Latents that fire on no other images than the top ones can't be asked.",
  );

/**
 * A question. Nothing on it says which latent or image it is about, until it is answered.
 * @param {Question} asked
 * @param {Named[]} names
 */
async function quizBody(asked, names) {
  const [data, heat] = await Promise.all([dataOf(asked.latent), heatOf(asked.latent)]);
  const view = { ...state, heat: state.heat === "off" ? "contour" : state.heat };
  const options = asked.options.map((text, i) => {
    const button = make("button", { type: "button", disabled: guess !== "" }, `${i + 1}`);
    button.append(make("span", {}, clipped(text)), verdict(asked, text));
    button.addEventListener("click", () => pickName(asked, text, names));
    return make("li", {}, button);
  });
  const where = about.grid ? "Which name fits what is marked?" : "Which name fits the image?";
  const heading = make("h2", { tabIndex: -1, id: "quiz-asked" }, where);
  const choices = make("ol", { class: "quiz-options" }, ...options);
  const answer = make("div", { class: "quiz-answer", role: "status" });
  if (guess) answer.append(...quizAnswer(asked, data.key(asked.row), names));
  const picture = make("div", { class: "big" }, largeImage(asked.slot, data, heat, view, "Image"));
  const side = make("section", {}, heading, choices, answer);
  return make("div", { class: "quiz columns of-image" }, picture, side);
}

/**
 * Whether a name was right, once the question is answered: a mark and words.
 * @param {Question} asked
 * @param {string} text
 */
function verdict(asked, text) {
  if (!guess || (text !== asked.name && text !== guess)) return "";
  const right = text === asked.name;
  const said = right ? "✓ its name" : "✗ your guess";
  return make("span", { class: `push ${right ? "is-right" : "is-wrong"}` }, said);
}

/**
 * @param {Question} asked
 * @param {string} text
 * @param {Named[]} names
 */
async function pickName(asked, text, names) {
  if (guess || asked !== question) return;
  guess = text;
  answered(asked, text);
  await drawQuiz(names);
  document.getElementById("quiz-next")?.focus();
}

/**
 * What is said once a question is answered.
 * @param {Question} asked
 * @param {string} key name of the image
 * @param {Named[]} names
 */
function quizAnswer(asked, key, names) {
  const said = guess === asked.name ? "Right." : "Not its name.";
  const next = make("button", { type: "button", id: "quiz-next" }, "Next image");
  next.addEventListener("click", async () => {
    await ask(names).catch((error) => failIn("view-quiz", error));
    document.getElementById("quiz-asked")?.focus();
  });
  const result = make("p", {}, make("b", {}, `${said} `), latentLink("quiz", asked.latent));
  return [result, make("p", { class: "soft" }, inOneLine(key)), next];
}

/**
 * The score of each name that was asked; nothing before the first answer.
 * @param {Named[]} names
 */
function quizScores(names) {
  const scored = names.flatMap((one) => {
    const score = quizScore(one);
    return score ? [{ ...one, ...score }] : [];
  });
  if (!scored.length) return [];
  const [hits, n] = [
    scored.reduce((sum, one) => sum + one.hits, 0),
    scored.reduce((sum, one) => sum + one.n, 0),
  ];
  const rows = scored.map(({ latent, name: called, hits: right, n: all, interval }) => [
    inOneLine(called),
    latentLink("quizzed", latent),
    `${count(right)} of ${count(all)}`,
    interval ? interval.map((end) => Math.round(100 * end)).join(" to ") : missing,
  ]);
  const few = `with ${FEWEST_ANSWERS} answers or more (Wilson 1927), in percent`;
  /** @type {[string, string?][]} */
  const heads = [["name"], ["latent"], ["right"], ["95 %", few]];
  const caption = `${count(hits)} of ${count(n)} right, ${QUIZ_CHANCE}`;
  return [make("div", { class: "quiz-scores" }, table(caption, heads, rows))];
}

/**
 * Answers the open question by a key.
 * @param {string} key
 */
function quizKey(key) {
  const text = question?.options[Number(key) - 1];
  if (question && text !== undefined) pickName(question, text, givenNames());
}

/** Puts the focus where the reader goes on. */
function revealQuiz() {
  document.getElementById("quiz-next")?.focus({ preventScroll: true });
}
