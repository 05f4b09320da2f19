// Random draws that are the same each time, and in each browser.

/**
 * A hash of a text, from 0 to 2³² − 1: FNV-1a, and MurmurHash3's finalizer, so that texts that
 * differ in their last digit lie far apart.
 * @param {string} text
 */
function hashOf(text) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/**
 * Draws some of the items, in a random order: those whose names have the smallest hashes.
 * @template Item
 * @param {Item[]} items
 * @param {number} n how many
 * @param {(item: Item) => string} called
 */
const drawnOf = (items, n, called) =>
  items
    .map((item) => ({ item, hash: hashOf(called(item)) }))
    .sort((x, y) => x.hash - y.hash)
    .slice(0, n)
    .map(({ item }) => item);
