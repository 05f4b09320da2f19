// Loads data: plain scripts with one assignment each.

/**
 * The documents by name. The scripts fill it.
 * @type {Record<string, unknown>}
 */
const saevData = Object.create(null);

/** @type {Map<string, Promise<void>>} */
const loading = new Map();

/**
 * @param {string} what
 * @param {string} how
 */
const notWhole = (what, how) =>
  new Error(`${what} is ${how}. Was the folder copied whole?`, { cause: how });

/**
 * Loads a script.
 * @param {string} file below the folder of the page
 * @param {string} title of its document
 */
function load(file, title) {
  let loaded = loading.get(file);
  if (!loaded) {
    loaded = new Promise((done, refuse) => {
      /** @param {string} how */
      const broken = (how) => {
        loading.delete(file);
        refuse(notWhole(file, how));
      };
      const absentFile = () => broken("missing next to this page");
      const script = make("script", { src: file, onerror: absentFile });
      script.addEventListener("load", () => {
        script.remove();
        // A script that was cut off runs nothing, and is loaded all the same.
        if (title in saevData) done();
        else broken("damaged");
      });
      document.head.append(script);
    });
    loading.set(file, loaded);
  }
  return loaded;
}

/**
 * @param {number} n
 * @param {number} width
 */
const padded = (n, width) => String(Math.floor(n)).padStart(width, "0");

/** The types of columns of numbers. */
const TYPES = {
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  float32: Float32Array,
  float64: Float64Array,
};

/** @typedef {InstanceType<typeof TYPES[keyof typeof TYPES]>} Numbers NaN where missing */

const damagedData = () => notWhole("The data of this page", "damaged");

/** @param {string} text base64 */
function binaryOf(text) {
  try {
    return atob(text);
  } catch {
    throw damagedData();
  }
}

/** @param {string} text base64 */
function bytesOf(text) {
  const binary = binaryOf(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/**
 * A column of numbers, with all their digits.
 * @param {NumberColumn} packed
 * @returns {Promise<Numbers>}
 */
async function unpacked({ type, values, places }) {
  if (!("DecompressionStream" in window)) {
    throw new Error("This browser is too old to read the data of the page. Use a newer one.");
  }
  const inflated = new Blob([bytesOf(values)])
    .stream()
    .pipeThrough(new DecompressionStream("gzip"));
  const whole = new Response(inflated).arrayBuffer().catch(() => {
    throw damagedData();
  });
  const apart = new Uint8Array(await whole);
  const Kind = TYPES[/** @type {keyof typeof TYPES} */ (type)];
  const size = Kind.BYTES_PER_ELEMENT;
  const n = apart.length / size;
  const bytes = new Uint8Array(apart.length);
  for (let byte = 0; byte < size; byte++) {
    for (let i = 0; i < n; i++) bytes[i * size + byte] = apart[byte * n + i];
  }
  const own = new Kind(bytes.buffer);
  if (!places) return own;
  const where = await unpacked(places);
  const all = new Kind(where.length);
  for (let i = 0; i < where.length; i++) all[i] = own[where[i]];
  return all;
}

/**
 * A column of texts.
 * @param {TextColumn} packed
 */
async function unpackedTexts({ texts: distinct, codes }) {
  return Array.from(await unpacked(codes), (code) => (code < 0 ? null : distinct[code]));
}
