/** What `/learn` draws: tokens, vectors as strips of colour, tables of numbers, the sinusoids. */

/** @import {Key} from "./i18n.js" */
/** @import {Matrix} from "./learn_types.js" */
import { make } from "./dom.js";
import { channels } from "./heatmap.js";
import { number, t } from "./i18n.js";
import { shownToken, sinusoids } from "./learn_numbers.js";
import { colour } from "./plotting.js";

const SVG = "http://www.w3.org/2000/svg";
/** Positions of the pictures of the sinusoids. */
export const POSITIONS = 64;
/** From here on a weight is written light on dark. */
const DARK = 0.5;

/**
 * Tokens in a row, each with a number below it if there is one.
 * @param {string[]} tokens
 * @param {(string | null)[]} [below]
 */
export function chips(tokens, below = []) {
  const items = tokens.map((token, place) => {
    const small = below[place] ? [make("small", {}, below[place] ?? "")] : [];
    return make("li", {}, make("span", { class: "token" }, shownToken(token)), ...small);
  });
  return make("ol", { class: "chips" }, ...items);
}

/**
 * Vectors as a picture: a row each, a pixel a number; one colour below zero, another above.
 * @param {Matrix} vectors
 * @param {string} label
 * @param {number} [height] pixels of a row
 */
export function strip(vectors, label, height = 10) {
  const canvas = make("canvas", { class: "strip", role: "img", "aria-label": label });
  canvas.width = vectors[0]?.length ?? 1;
  canvas.height = vectors.length;
  canvas.style.setProperty("height", `${height * vectors.length}px`);
  const context = canvas.getContext("2d");
  if (!context) return canvas;
  const image = context.createImageData(canvas.width, canvas.height);
  const [zero, below, above] = ["--heat-0", "--unsure", "--heat-2"].map((name) => channels(colour(name)));
  const most = Math.max(1e-6, ...vectors.map((row) => Math.max(...row.map(Math.abs))));
  vectors.flat().forEach((value, place) => {
    const end = value < 0 ? below : above;
    const share = Math.abs(value) / most;
    image.data.set([...zero.map((low, channel) => low + share * (end[channel] - low)), 255], 4 * place);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

/**
 * A picture and what it is, one below the other.
 * @param {string} name
 * @param {Matrix} vectors
 * @param {number} [height] pixels of a row
 */
export function namedStrip(name, vectors, height) {
  const label = t("learn.embedding.picture", { name, rows: vectors.length, columns: vectors[0]?.length ?? 0 });
  return make("figure", {}, make("figcaption", { class: "label" }, name), strip(vectors, label, height));
}

/**
 * A table that scrolls sideways where it has no room.
 * @param {string} caption
 * @param {string[]} heads
 * @param {(string | Node)[][]} rows the first cell of each is its head
 */
export function table(caption, heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map(([first, ...cells]) =>
    make("tr", {}, make("th", { scope: "row" }, first), ...cells.map((cell) => make("td", {}, cell))),
  );
  const whole = make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, whole);
}

/** @param {number} share from 0 to 1 */
export function bar(share) {
  const element = make("span", { class: "bar-of", "aria-hidden": "true" });
  element.style.setProperty("--share", String(share));
  return make("span", { class: "barred" }, element, number(share, 3, 3));
}

/**
 * All queries and keys: a row for each query, coloured by the softmax's weight, whatever the numbers are.
 * @param {{rows: string[], columns: string[], numbers: Matrix, weights: Matrix, caption: string, digits: number}} what
 */
export function matrix({ rows, columns, numbers, weights, caption, digits }) {
  const shown = table(
    caption,
    [t("learn.matrix.corner"), ...columns.map(shownToken)],
    rows.map((row, place) => [shownToken(row), ...numbers[place].map((value) => number(value, digits, digits))]),
  );
  shown.classList.add("matrix");
  shown.querySelectorAll("tbody tr").forEach((line, row) => {
    line.querySelectorAll("td").forEach((cell, column) => {
      const weight = weights[row][column];
      cell.style.setProperty("--weight", String(weight));
      cell.classList.toggle("dark", weight > DARK);
    });
  });
  return shown;
}

/**
 * Sine and cosine of one pair of dimensions over the positions.
 * @param {number} pair
 * @param {number} width
 */
export function curves(pair, width) {
  const rows = sinusoids(POSITIONS, width);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 -1.15 ${POSITIONS - 1} 2.3`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "curves");
  svg.setAttribute("aria-hidden", "true");
  for (const [dimension, name] of /** @type {[number, string][]} */ ([[2 * pair, "sine"], [2 * pair + 1, "cosine"]])) {
    const line = document.createElementNS(SVG, "polyline");
    line.setAttribute("points", rows.map((row, position) => `${position},${-row[dimension]}`).join(" "));
    line.setAttribute("class", name);
    svg.append(line);
  }
  return svg;
}

/**
 * @param {Key} name
 * @param {Record<string, string | number>} [values]
 */
export function paragraph(name, values) {
  return make("p", { class: "explained" }, t(name, values));
}
