/** Texts by code point: JavaScript counts UTF-16 units, the API does not. */

/** @import {Span} from "./types.js" */

/** @param {string} text */
export function codePoints(text) {
  return Array.from(text);
}

/** @param {string} text */
export function length(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/**
 * @param {string} text
 * @param {Span} span in code points
 */
export function slice(text, [start, end]) {
  return codePoints(text).slice(start, end).join("");
}

/**
 * The beginning of a text: at most `limit` code points, whole lines if the first one fits.
 * @param {string} text
 * @param {number} limit
 */
export function beginning(text, limit) {
  const points = codePoints(text);
  if (points.length <= limit) return text;
  const cut = points.slice(0, limit).join("");
  const end = cut.lastIndexOf("\n");
  return end > 0 ? cut.slice(0, end) : cut;
}
