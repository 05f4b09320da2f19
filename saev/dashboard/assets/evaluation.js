// What both pages say about the evaluation of a run.

/**
 * A number, with its interval in small print.
 * @param {Estimate} estimate
 */
function estimated({ value, interval }) {
  const limits = interval && `${number(interval[0])} to ${number(interval[1])}`;
  return make(
    "span",
    { class: "estimate" },
    number(value),
    limits && make("small", {}, ` ${limits}`),
  );
}

const LOSES = "no better than one of its baselines";

/**
 * The figures of an evaluation, each beside its baselines.
 * @param {EvaluatedFigure[]} found
 */
function evaluationTable(found) {
  const rows = found.map((figure) => {
    const { baselines, held_out: heldOut, meaning, n, note, over, title } = figure;
    const beside = baselines.map((one) =>
      make(
        "li",
        {},
        make("span", { class: "soft" }, one.title),
        " ",
        estimated(one),
        one.beaten === false ? make("b", { class: "unbeaten" }, " not beaten") : null,
      ),
    );
    const unbeaten = baselines.some(({ beaten }) => beaten === false);
    const value = estimated(figure);
    if (unbeaten) value.prepend(make("span", { class: "unbeaten", title: LOSES }, "⚠ "));
    const ofThese = over === "images" ? "held-out images" : `${over}, held-out images`;
    const taken = heldOut ? ofThese : over;
    return [
      make("span", {}, term(title, meaning), note ? make("small", { class: "said" }, note) : null),
      value,
      make("ul", {}, ...beside),
      `${count(n)} ${taken}`,
    ];
  });
  const made = table(
    "Evaluation",
    [
      [""],
      ["value", "with its 95 % interval (bootstrap), where it is a mean of many"],
      [
        "baselines",
        "the same figure of something trivial. A value that a baseline reaches too says nothing: " +
          "such values have a ⚠, and the baseline says “not beaten”",
      ],
      ["over", "how many of what the value is taken over"],
    ],
    rows,
  );
  made.className = "evaluation";
  return made;
}
