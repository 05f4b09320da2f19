// What the reader says about latents: stars, names and notes. The browser keeps them, for the
// dictionary. They can be saved to a file, and read from one.

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

/** @param {number} latent */
const noteOf = (latent) => notes.get(latent) ?? { star: false, name: "", text: "" };

/** Reads what the browser has kept. Some browsers keep nothing for files. */
function readNotes() {
  try {
    notes = parsedNotes(JSON.parse(localStorage.getItem(shelf()) ?? "null")) ?? notes;
  } catch {
    notes = new Map();
  }
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
  for (const { latent, star, name: given, note } of content.latents) {
    if (!Number.isInteger(latent) || latent < 0 || latent >= about.n_latents) return null;
    found.set(latent, {
      star: star === true,
      name: String(given ?? ""),
      text: String(note ?? ""),
    });
  }
  return found;
}

/** All notes as JSON, latent by latent. */
function notesAsJson() {
  const latents = [...notes.entries()]
    .sort(([a], [b]) => a - b)
    .map(([latent, { star, name: given, text }]) => ({ latent, star, name: given, note: text }));
  const content = { format: "saev notes", version: 1, dictionary: subject(), latents };
  return JSON.stringify(content, null, 1);
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
  try {
    localStorage.setItem(shelf(), notesAsJson());
  } catch {
    at("refused").textContent = "This browser keeps no notes for this page: save them to a file.";
  }
  listed = drawn = "";
  render();
}

/**
 * A button that stars a latent.
 * @param {number} latent
 */
function starButton(latent) {
  const button = make("button", { type: "button", class: "icon star", "aria-label": "Star (s)" });
  const look = () => {
    button.textContent = noteOf(latent).star ? "★" : "☆";
    button.setAttribute("aria-pressed", String(noteOf(latent).star));
  };
  button.addEventListener("click", () => {
    annotate(latent, { star: !noteOf(latent).star });
    look();
  });
  look();
  return button;
}

/**
 * Fields for the reader's name and note of a latent.
 * @param {number} latent
 */
function noteFields(latent) {
  const note = noteOf(latent);
  const given = make("input", { type: "text", value: note.name, "aria-label": "Your name for it" });
  given.placeholder = "your name for it";
  given.addEventListener("change", () => annotate(latent, { name: given.value }));
  const text = make("textarea", { rows: 2, value: note.text, "aria-label": "Your note" });
  text.placeholder = "note";
  text.addEventListener("change", () => annotate(latent, { text: text.value }));
  const meaning =
    "kept in this browser only. Save all of them to a file, or read one, at the end of the list";
  const title = make("h3", {}, term("Your name and note", meaning));
  return make("section", { class: "note" }, title, given, text);
}

/**
 * What the reader says about a latent, on its card; null if nothing.
 * @param {number} latent
 */
function noteLine(latent) {
  const { star, name: given, text } = noteOf(latent);
  if (!star && !given && !text) return null;
  const mark = star ? "★" : "✎";
  return make("p", { class: "fact yours" }, mark, inOneLine(given || text || "starred"));
}

/** Buttons that save the notes to a file and read one. */
function notesBar() {
  const save = make("button", { type: "button", id: "save-notes" }, "Save notes");
  save.addEventListener("click", () => {
    const file = new Blob([notesAsJson()], { type: "application/json" });
    const link = make("a", { href: URL.createObjectURL(file), download: "notes.json" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  const picker = make("input", {
    type: "file",
    id: "read-notes",
    accept: ".json",
    "aria-label": "Read notes from a file",
    onchange: async () => {
      const file = picker.files?.[0];
      picker.value = "";
      if (file) importNotes(await file.text(), file.name);
    },
  });
  const said = make("p", { id: "notes-said", role: "status" });
  return make("div", { class: "notes-bar" }, save, make("span", {}, "Read notes:"), picker, said);
}

/**
 * Adds the notes in a file to those that are there. A latent's note in the file replaces that here.
 * @param {string} text
 * @param {string} file its name
 */
function importNotes(text, file) {
  let found = null;
  try {
    found = parsedNotes(JSON.parse(text));
  } catch {
    found = null;
  }
  const said = at("notes-said");
  if (!found) {
    const wanted = `"saev notes" of version 1 about ${subject()}`;
    said.textContent = plain(clipped(`${file} wasn't read: it must hold ${wanted}.`));
    return;
  }
  notes = new Map([...notes, ...found]);
  keepNotes();
  said.textContent = plain(clipped(`${count(found.size)} notes read from ${file}.`));
}
