// Files of notes: JSON for another browser, CSV for spreadsheets and for the settings. Only JSON
// has the starred images and the answers of the quiz.

const CSV = ["dictionary", "latent", "star", "name", "note", "author"];

/** All notes as CSV, for `analysis: {names: notes.csv}` and for spreadsheets. */
function notesAsCsv() {
  /** @param {unknown} cell */
  const quoted = (cell) => `"${String(cell).replaceAll('"', '""')}"`;
  const lines = [...notes.entries()]
    .sort(([a], [b]) => a - b)
    .map(([latent, { star, name: called, text }]) =>
      [subject(), latent, star ? 1 : 0, called, text, ""].map(quoted).join(","),
    );
  return `\ufeff${[CSV.join(","), ...lines].join("\r\n")}\r\n`;
}

/**
 * The cells of a CSV text, line by line. Commas, semicolons or tabs separate them, as spreadsheets
 * write them.
 * @param {string} text
 */
function cellsOf(text) {
  const plainText = text.replace(/^\ufeff/, "");
  const first = plainText.split(/\r?\n/, 1)[0];
  const separator = [",", ";", "\t"].find((one) => first.includes(one)) ?? ",";
  /** @type {string[][]} */
  const rows = [[""]];
  let inside = false;
  for (let i = 0; i < plainText.length; i++) {
    const character = plainText[i];
    const row = rows[rows.length - 1];
    if (inside) {
      if (character !== '"') row[row.length - 1] += character;
      else if (plainText[i + 1] === '"') row[row.length - 1] += plainText[++i];
      else inside = false;
    } else if (character === '"') inside = true;
    else if (character === separator) row.push("");
    else if (character === "\n") rows.push([""]);
    else if (character !== "\r") row[row.length - 1] += character;
  }
  return rows.filter((row) => row.length > 1 || row[0] !== "");
}

/**
 * Notes from CSV, with the columns that `notesAsCsv` writes, in any order; null if it holds none
 * about this dictionary.
 * @param {string} text
 */
function notesFromCsv(text) {
  const [heading, ...rows] = cellsOf(text);
  const place = Object.fromEntries(
    (heading ?? []).map((title, i) => [title.trim().toLowerCase(), i]),
  );
  if (!["dictionary", "latent", "name"].every((title) => title in place)) return null;
  const latents = rows
    .filter((row) => row[place.dictionary] === subject())
    .map((row) => ({
      latent: row[place.latent].trim() === "" ? NaN : Number(row[place.latent]),
      star: row[place.star] === "1",
      name: row[place.name],
      note: row[place.note] ?? "",
    }));
  if (!latents.length) return null;
  return parsedNotes({ format: "saev notes", version: 1, dictionary: subject(), latents });
}

/** Buttons that save the notes to a file and read one. */
function notesBar() {
  const save = saving("save-notes", "Save notes", "notes.json", notesAsJson);
  const saveCsv = saving("save-notes-csv", "as CSV", "notes.csv", notesAsCsv);
  const picker = make("input", {
    type: "file",
    id: "read-notes",
    accept: ".json,.csv",
    "aria-label": "Read notes from a file",
    onchange: async () => {
      const file = picker.files?.[0];
      picker.value = "";
      if (file) importNotes(await file.text(), file.name);
    },
  });
  const said = make("p", { id: "notes-said", role: "status" });
  return make(
    "div",
    { class: "notes-bar" },
    save,
    saveCsv,
    make("span", {}, "Read notes:"),
    picker,
    said,
  );
}

/**
 * A button that saves a text to a file.
 * @param {string} id
 * @param {string} title
 * @param {string} file its name
 * @param {() => string} text
 */
function saving(id, title, file, text) {
  const button = make("button", { type: "button", id }, title);
  button.addEventListener("click", () => {
    const type = file.endsWith(".csv") ? "text/csv" : "application/json";
    const content = new Blob([text()], { type });
    const link = make("a", { href: URL.createObjectURL(content), download: file });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  return button;
}

/**
 * Adds the notes in a file to those that are there. A latent's note in the file replaces that here.
 * @param {string} text
 * @param {string} file its name
 */
function importNotes(text, file) {
  let found = null;
  let [stars, quizzed] = [parsedStars(undefined), parsedAnswers(undefined)];
  try {
    if (file.endsWith(".csv")) found = notesFromCsv(text);
    else {
      const content = JSON.parse(text);
      found = parsedNotes(content);
      [stars, quizzed] = [parsedStars(content?.images), parsedAnswers(content?.quiz)];
    }
  } catch {
    found = null;
  }
  const said = at("notes-said");
  if (!found || !stars || !quizzed) {
    const wanted = file.endsWith(".csv")
      ? `the columns dictionary, latent and name, and rows about ${subject()}`
      : `"saev notes" of version 1 about ${subject()}`;
    said.textContent = plain(clipped(`${file} wasn't read: it must hold ${wanted}.`));
    return;
  }
  notes = new Map([...notes, ...found]);
  starredImages = new Map([...starredImages, ...stars]);
  answers = new Map([...answers, ...quizzed]);
  keepAnswers();
  keepStars();
  keepNotes();
  const images = stars.size ? ` and ${count(stars.size)} starred images` : "";
  const amount = found.size === 1 ? "1 note" : `${count(found.size)} notes`;
  said.textContent = plain(clipped(`${amount}${images} read from ${file}.`));
}
