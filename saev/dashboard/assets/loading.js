// Loads data: plain scripts with one assignment each.

/**
 * The documents by name. The scripts fill it.
 * @type {Record<string, unknown>}
 */
const saevData = Object.create(null);

/** @type {Map<string, Promise<void>>} */
const loading = new Map();

/** @param {string} file below the folder of the page */
function load(file) {
  let loaded = loading.get(file);
  if (!loaded) {
    loaded = new Promise((done, refuse) => {
      const broken = () => {
        loading.delete(file);
        refuse(new Error(`${file} is missing next to this page`));
      };
      const script = make("script", { src: file, onerror: broken });
      script.addEventListener("load", () => {
        script.remove();
        done();
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
