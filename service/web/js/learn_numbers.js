/** What `/learn` computes by itself: softmax, sinusoids, the way of the best hypothesis through the search. */

/** @import {Candidate, SearchReply} from "./learn_types.js" */

/**
 * @param {number[]} scores
 * @returns {number[]} each exp(score), divided by their sum; the largest is subtracted first, which changes nothing
 */
export function softmax(scores) {
  const most = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

/**
 * Position encodings of section 3.5 of the paper.
 * @param {number} positions
 * @param {number} width
 * @returns {number[][]} [positions][width]
 */
export function sinusoids(positions, width) {
  return Array.from({ length: positions }, (_, position) =>
    Array.from({ length: width }, (__, dimension) => {
      const angle = position / turns(dimension, width);
      return dimension % 2 === 0 ? Math.sin(angle) : Math.cos(angle);
    }),
  );
}

/**
 * Positions that an angle of one takes, in the pair that a dimension belongs to.
 * @param {number} dimension
 * @param {number} width
 */
export function turns(dimension, width) {
  return 10000 ** ((dimension - (dimension % 2)) / width);
}

/**
 * @param {number[][]} found
 * @param {number[][]} wanted at least as many rows
 */
export function largestDifference(found, wanted) {
  return Math.max(0, ...found.map((row, place) => Math.max(...row.map((value, index) => Math.abs(value - wanted[place][index])))));
}

/**
 * The candidates that were kept in a step, in the order in which the next step knows them as beams.
 * @param {Candidate[]} step
 */
export function kept(step) {
  return step.filter(({ fate }) => fate === "kept");
}

/**
 * The candidates on the way to a hypothesis, one of each step; empty if it is not found there.
 * @param {SearchReply["steps"]} steps
 * @param {{log_prob: number, finish_reason: string}} hypothesis
 * @returns {Candidate[]}
 */
export function wayTo(steps, { log_prob: sum, finish_reason: reason }) {
  const fate = reason === "eos" ? "ended" : "kept";
  for (let place = steps.length - 1; place >= 0; place -= 1) {
    const end = steps[place].find((each) => each.fate === fate && Math.abs(each.log_prob - sum) < 1e-5);
    if (!end) continue;
    const way = [end];
    for (let step = place - 1; step >= 0; step -= 1) way.unshift(kept(steps[step])[way[0].beam]);
    return way;
  }
  return [];
}

/**
 * What a candidate continues, as text.
 * @param {SearchReply["steps"]} steps
 * @param {number} step
 * @param {Candidate} candidate
 */
export function beginning(steps, step, candidate) {
  let here = candidate;
  const tokens = [];
  for (let before = step - 1; before >= 0; before -= 1) {
    here = kept(steps[before])[here.beam];
    tokens.unshift(here.token);
  }
  return tokens.join("").replaceAll("▁", " ").trim();
}

/** @param {string} token `▁`, a space, is a wide bar in most fonts */
export function shownToken(token) {
  return token.replaceAll("▁", "·");
}
