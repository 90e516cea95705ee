/** Words of a sentence and of its translation: how sure the model was of each, and what belongs to what. */

/** @import {Segment, Span} from "./types.js" */
import { codePoints } from "./text.js";

/**
 * @typedef {object} Word
 * @property {string} text
 * @property {number | null} probability of all its pieces together; null for words that were read
 * @property {{word: number, weight: number}[]} links to words of the other side
 */

/**
 * @param {Segment} segment
 * @param {string} source the text its spans of the source are of
 * @param {string} target
 * @returns {{sources: Word[], targets: Word[]}}
 */
export function wordsOf(segment, source, target) {
  const read = pieces(source, segment.source_words).map((text) => word(text, null));
  const sure = probabilities(segment.target_words, segment.target_token_spans, segment.token_log_probs);
  const written = pieces(target, segment.target_words).map((text, index) => word(text, sure[index]));
  for (const link of segment.alignment ?? []) {
    const i = indexOf(segment.source_words, link.source);
    const j = indexOf(segment.target_words, link.target);
    read[i]?.links.push({ word: j, weight: link.weight });
    written[j]?.links.push({ word: i, weight: link.weight });
  }
  return { sources: read, targets: written };
}

/**
 * The probability of each word: the product of those of its pieces, a piece counting for the word it has most of.
 * @param {Span[]} words
 * @param {Span[]} tokens
 * @param {number[]} logProbs
 */
export function probabilities(words, tokens, logProbs) {
  const sums = words.map(() => 0);
  tokens.forEach((token, index) => {
    const shared = words.map((each) => Math.min(each[1], token[1]) - Math.max(each[0], token[0]));
    const most = Math.max(...shared);
    if (most > 0) sums[shared.indexOf(most)] += logProbs[index];
  });
  return sums.map(Math.exp);
}

/**
 * Which words of `other` are not in `best`, in the longest sequence that both have.
 * @param {string[]} best
 * @param {string[]} other
 * @returns {boolean[]} for each of `other`
 */
export function differences(best, other) {
  const common = best.map(() => new Array(other.length + 1).fill(0));
  common.push(new Array(other.length + 1).fill(0));
  for (let i = best.length - 1; i >= 0; i -= 1) {
    for (let j = other.length - 1; j >= 0; j -= 1) {
      common[i][j] = best[i] === other[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const differs = other.map(() => true);
  for (let i = 0, j = 0; i < best.length && j < other.length; ) {
    if (best[i] === other[j]) {
      differs[j] = false;
      i += 1;
      j += 1;
    } else if (common[i + 1][j] >= common[i][j + 1]) i += 1;
    else j += 1;
  }
  return differs;
}

/**
 * @param {string} text
 * @param {Span[]} spans
 */
function pieces(text, spans) {
  const points = codePoints(text);
  return spans.map(([start, end]) => points.slice(start, end).join(""));
}

/**
 * @param {string} text
 * @param {number | null} probability
 * @returns {Word}
 */
function word(text, probability) {
  return { text, probability, links: [] };
}

/**
 * @param {Span[]} spans
 * @param {Span} wanted
 */
function indexOf(spans, wanted) {
  return spans.findIndex(([start, end]) => start === wanted[0] && end === wanted[1]);
}
