/** The Prometheus text format, and what two looks at it say of the time between. */

/** @typedef {{name: string, labels: Record<string, string>, value: number}} Sample */

const LINE = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
/** @type {Record<string, number>} */
const WORDS = { "+Inf": Infinity, "-Inf": -Infinity, Inf: Infinity };

/**
 * @param {string} text
 * @returns {Sample[]}
 */
export function parse(text) {
  return text.split("\n").flatMap((line) => {
    const [, name, labels = "", value] = LINE.exec(line) ?? [];
    if (!name || line.startsWith("#")) return [];
    const pairs = [...labels.matchAll(LABEL)].map(([, key, quoted]) => [key, unquoted(quoted)]);
    return [{ name, labels: Object.fromEntries(pairs), value: WORDS[value] ?? Number(value) }];
  });
}

/**
 * The sum of the samples of a name whose labels are among those wanted; 0 if there is none.
 * @param {Sample[]} samples
 * @param {string} name
 * @param {Record<string, string[]>} [wanted]
 */
export function total(samples, name, wanted = {}) {
  return chosen(samples, name, wanted).reduce((sum, { value }) => sum + value, 0);
}

/**
 * Counts of a histogram up to each of its bounds, by bound.
 * @param {Sample[]} samples
 * @param {string} name without `_bucket`
 * @param {Record<string, string[]>} [wanted]
 * @returns {Map<number, number>}
 */
export function buckets(samples, name, wanted = {}) {
  /** @type {Map<number, number>} */
  const counts = new Map();
  for (const { labels, value } of chosen(samples, `${name}_bucket`, wanted)) {
    const bound = WORDS[labels.le] ?? Number(labels.le);
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return new Map([...counts].sort(([a], [b]) => a - b));
}

/**
 * A quantile of what was observed between two looks, as Prometheus estimates it: evenly spread within a bucket. Null if
 * nothing was; the largest finite bound if it lies beyond.
 * @param {Map<number, number>} before
 * @param {Map<number, number>} after
 * @param {number} q from 0 to 1
 */
export function quantile(before, after, q) {
  const counts = [...after].map(([bound, count]) => ({ bound, count: count - (before.get(bound) ?? 0) }));
  const all = counts.at(-1)?.count ?? 0;
  if (all <= 0) return null;
  const rank = q * all;
  const place = counts.findIndex(({ count }) => count >= rank);
  const low = place > 0 ? counts[place - 1] : { bound: 0, count: 0 };
  const high = counts[place];
  if (high.bound === Infinity) return low.bound;
  return low.bound + ((high.bound - low.bound) * (rank - low.count)) / (high.count - low.count);
}

/**
 * @param {Sample[]} samples
 * @param {string} name
 * @param {Record<string, string[]>} wanted
 */
function chosen(samples, name, wanted) {
  return samples.filter(
    (sample) => sample.name === name && Object.entries(wanted).every(([label, values]) => values.includes(sample.labels[label])),
  );
}

/** @param {string} quoted */
function unquoted(quoted) {
  return quoted.replace(/\\(.)/g, (_, character) => (character === "n" ? "\n" : character));
}
