/** The search of `/learn`: a tree of all that was kept or ended, and each step as a table. */

/** @import {Candidate, SearchReply} from "./learn_types.js" */
import { make } from "./dom.js";
import { number, t } from "./i18n.js";
import { beginning, kept, shownToken, wayTo } from "./learn_numbers.js";
import { table } from "./learn_views.js";

const SVG = "http://www.w3.org/2000/svg";
const COLUMN = 104;
const ROW = 44;
const BOX = { width: 84, height: 34 };

/**
 * The tree as a picture; what is in it is told by the tables.
 * @param {SearchReply} found
 */
export function tree({ steps, hypotheses }) {
  const best = new Set(hypotheses[0] ? wayTo(steps, hypotheses[0]) : []);
  const columns = steps.map((step) => step.filter(({ fate }) => fate !== "dropped"));
  const most = Math.max(1, ...columns.map((column) => column.length));
  const svg = element("svg", { width: COLUMN * columns.length, height: ROW * most, class: "tree", "aria-hidden": "true" });
  columns.forEach((column, step) => {
    column.forEach((candidate, place) => {
      const parent = step > 0 ? columns[step - 1].indexOf(kept(steps[step - 1])[candidate.beam]) : -1;
      if (parent >= 0) svg.append(branch(step, parent, place, best.has(candidate)));
    });
  });
  columns.forEach((column, step) => {
    column.forEach((candidate, place) => svg.append(node(candidate, step, place, best.has(candidate))));
  });
  const label = t("learn.beam.picture");
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, svg);
}

/**
 * @param {number} step
 * @param {number} parent
 * @param {number} place
 * @param {boolean} isBest
 */
function branch(step, parent, place, isBest) {
  const [x1, y1] = [COLUMN * (step - 1) + BOX.width, ROW * (parent + 0.5)];
  const [x2, y2] = [COLUMN * step, ROW * (place + 0.5)];
  const middle = (x1 + x2) / 2;
  const d = `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`;
  return element("path", { d, class: isBest ? "branch best" : "branch" });
}

/**
 * @param {Candidate} candidate
 * @param {number} step
 * @param {number} place
 * @param {boolean} isBest
 */
function node(candidate, step, place, isBest) {
  const group = element("g", { class: `node ${candidate.fate}${isBest ? " best" : ""}` });
  const [x, y] = [COLUMN * step, ROW * place + (ROW - BOX.height) / 2];
  const token = shownToken(candidate.token);
  const short = Array.from(token).length > 9 ? `${Array.from(token).slice(0, 8).join("")}…` : token;
  const name = element("text", { x: x + BOX.width / 2, y: y + 15 });
  name.textContent = short;
  const sum = element("text", { x: x + BOX.width / 2, y: y + 28, class: "sum" });
  sum.textContent = number(candidate.log_prob, 2, 2);
  group.append(element("rect", { x, y, width: BOX.width, height: BOX.height, rx: 7 }), name, sum);
  return group;
}

/**
 * @param {SearchReply} found
 * @param {number} step
 */
export function ranking({ steps }, step) {
  const rows = steps[step].map((candidate) => [
    shownToken(candidate.token),
    beginning(steps, step, candidate) || "–",
    number(Math.exp(candidate.token_log_prob), 3, 3),
    number(candidate.log_prob, 3, 3),
    make("span", { class: `fate ${candidate.fate}` }, t(`learn.fate.${candidate.fate}`)),
  ]);
  const names = /** @type {const} */ (["token", "text.column", "probability", "sum", "fate"]);
  const heads = names.map((name) => t(`learn.beam.${name}`));
  return table(t("learn.beam.caption", { number: step + 1 }), heads, rows);
}

/** @param {SearchReply} found */
export function results({ hypotheses }) {
  const rows = hypotheses.map(({ text, log_prob: sum, score }) => [text, number(sum, 3, 3), number(score, 3, 3)]);
  const heads = [t("learn.beam.text.result"), t("learn.beam.sum"), t("learn.beam.score")];
  return table(t("learn.beam.results"), heads, rows);
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 */
function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}
