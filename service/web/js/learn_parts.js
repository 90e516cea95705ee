/** The parts of `/learn` that show a reply of `/internals`. */

/** @import {InternalsReply, Matrix, SearchReply} from "./learn_types.js" */
import { find, make, rove } from "./dom.js";
import { channels, thumbnail } from "./heatmap.js";
import { number, t } from "./i18n.js";
import { largestDifference, shownToken, sinusoids, softmax, turns } from "./learn_numbers.js";
import { bar, chips, curves, matrix, namedStrip, paragraph, POSITIONS, strip, table } from "./learn_views.js";
import { colour } from "./plotting.js";

/** Of a sentence's own rows and the formula's, in 32 bits, rounded to five decimals. */
const SAME = 1e-3;
const FIRST_NUMBERS = 6;

/** @param {InternalsReply} reply */
export function showTokens({ source_tokens: source, target_tokens: target, token_log_probs: logs }) {
  const percent = logs.map((log) => (log === null ? null : number(100 * Math.exp(log))));
  find("tokens", HTMLElement).replaceChildren(
    make("h3", { class: "label" }, t("learn.tokens.source")),
    chips(source),
    make("h3", { class: "label" }, t("learn.tokens.target")),
    chips(target, percent),
  );
}

/** @param {InternalsReply} reply with its embedding */
export function showEmbedding({ embedding }) {
  if (!embedding) return;
  const { source_tokens: tokens, source_positions: positions } = embedding;
  const sum = tokens.map((row, place) => row.map((value, index) => value + positions[place][index]));
  const width = tokens[0].length;
  find("embedding", HTMLElement).replaceChildren(
    paragraph("learn.embedding.text", { width }),
    namedStrip(t("learn.embedding.tokens"), tokens),
    namedStrip(t("learn.embedding.positions"), positions),
    namedStrip(t("learn.embedding.sum"), sum),
  );
  showSinusoids({ embedding });
}

/** @param {Pick<InternalsReply, "embedding"> | null} reply without one: as wide as the paper's */
export function showSinusoids(reply) {
  const own = reply?.embedding?.source_positions;
  const width = own?.[0]?.length ?? 512;
  const rows = sinusoids(POSITIONS, width);
  const slider = find("pair-of-dimensions", HTMLInputElement);
  slider.max = String(width / 2 - 1);
  const read = () => {
    const pair = Number(slider.value);
    const turn = number(2 * Math.PI * turns(2 * pair, width), 1);
    const said = t("learn.sinusoid.reading", { even: 2 * pair, odd: 2 * pair + 1, turn });
    slider.setAttribute("aria-valuetext", said);
    find("pair-reading", HTMLElement).textContent = said;
    find("curves", HTMLElement).replaceChildren(curves(pair, width));
  };
  slider.oninput = read;
  read();
  find("sinusoid-text", HTMLElement).textContent = t("learn.sinusoid.text", { width });
  const label = t("learn.sinusoid.picture", { last: POSITIONS - 1, width });
  find("sinusoids", HTMLElement).replaceChildren(strip(rows, label, 3));
  find("sinusoid-same", HTMLElement).textContent = own ? compared(own, rows) : "";
}

/**
 * @param {Matrix} own
 * @param {Matrix} rows
 */
function compared(own, rows) {
  const difference = largestDifference(own, rows);
  return difference < SAME ? t("learn.sinusoid.same", { difference: number(difference, 6) }) : t("learn.sinusoid.other");
}

/** One head: its vectors, its scores. */
export class Head {
  /**
   * @param {InternalsReply} reply
   * @param {number} place whose query is looked at
   * @param {"products" | "scores" | "weights"} part of the matrix that is shown whole
   * @param {SearchReply | null} found
   */
  show(reply, place, part, found) {
    const values = sizes(reply, found);
    const token = shownToken(reply.rows[place]);
    const query = reply.query[place];
    const numbers = query.slice(0, FIRST_NUMBERS).map((each) => number(each, 2, 2)).join("  ");
    find("qkv", HTMLElement).replaceChildren(
      paragraph("learn.qkv.shapes", values),
      namedStrip(t("learn.qkv.query", { token }), [query], 18),
      make("p", { class: "figure" }, t("learn.qkv.first", { numbers })),
      namedStrip(t("learn.qkv.keys"), reply.key),
      namedStrip(t("learn.qkv.values"), reply.value),
    );
    find("scores", HTMLElement).replaceChildren(
      paragraph("learn.scores.text", values),
      scoresOf(reply, place),
      paragraph("learn.scores.output", values),
    );
    find("matrix", HTMLElement).replaceChildren(
      matrix({
        rows: reply.rows,
        columns: reply.columns,
        numbers: reply[part],
        weights: reply.weights,
        caption: t("learn.matrix.caption", { part: t(`learn.matrix.${part}`) }),
        digits: part === "weights" ? 2 : 1,
      }),
    );
  }
}

/**
 * @param {InternalsReply} reply
 * @param {SearchReply | null} found
 */
function sizes(reply, found) {
  const head = reply.query[0].length;
  const heads = found?.stacks[reply.kind][1] ?? reply.heads.length;
  const [rows, columns] = [reply.rows.length, reply.columns.length];
  return { rows, columns, head, heads, width: head * heads, root: number(Math.sqrt(head), 2) };
}

/**
 * One query by every key, as numbers.
 * @param {InternalsReply} reply
 * @param {number} place
 */
function scoresOf(reply, place) {
  // The decoder may not look ahead.
  const visible = reply.kind === "decoder" ? place + 1 : reply.columns.length;
  const unscaled = softmax(reply.products[place].slice(0, visible));
  const names = /** @type {const} */ (["key", "product", "scaled", "weight", "unscaled"]);
  const rows = reply.columns.map((column, key) => [
    shownToken(column),
    number(reply.products[place][key], 3, 3),
    key < visible ? number(reply.scores[place][key], 3, 3) : t("learn.scores.masked"),
    bar(reply.weights[place][key]),
    bar(unscaled[key] ?? 0),
  ]);
  const caption = t("learn.scores.caption", { token: shownToken(reply.rows[place]) });
  return table(caption, names.map((name) => t(`learn.scores.${name}`)), rows);
}

/** Masked self-attention, one row after another. */
export class Mask {
  /** @type {InternalsReply | null} */
  #reply = null;
  #slider = find("mask-step", HTMLInputElement);

  constructor() {
    this.#slider.addEventListener("input", () => this.#draw());
    find("mask-previous", HTMLButtonElement).addEventListener("click", () => this.#move(-1));
    find("mask-next", HTMLButtonElement).addEventListener("click", () => this.#move(1));
  }

  /**
   * @param {InternalsReply} reply of the decoder
   * @param {boolean} anew another sentence
   */
  show(reply, anew) {
    this.#reply = reply;
    this.#slider.max = String(reply.rows.length - 1);
    if (anew) this.#slider.value = String(Math.min(2, reply.rows.length - 1));
    this.#draw();
  }

  /** @param {number} by */
  #move(by) {
    this.#slider.value = String(Number(this.#slider.value) + by);
    this.#draw();
  }

  #draw() {
    if (!this.#reply) return;
    const reply = this.#reply;
    const step = Number(this.#slider.value);
    const said = t("learn.step.of", { number: step + 1, count: reply.rows.length });
    this.#slider.setAttribute("aria-valuetext", said);
    find("mask-step-of", HTMLElement).textContent = said;
    find("mask-previous", HTMLButtonElement).disabled = step === 0;
    find("mask-next", HTMLButtonElement).disabled = step === reply.rows.length - 1;
    const seen = reply.columns.map((column, key) => [
      shownToken(column),
      key <= step ? number(reply.scores[step][key], 3, 3) : "−∞",
      bar(reply.weights[step][key]),
    ]);
    const heads = [t("learn.scores.key"), t("learn.scores.scaled"), t("learn.scores.weight")];
    const token = shownToken(reply.rows[step]);
    const shown = table(t("learn.mask.caption", { layer: reply.layer, head: reply.head, token }), heads, seen);
    shown.querySelectorAll("tbody tr").forEach((line, key) => line.classList.toggle("masked", key > step));
    find("mask", HTMLElement).replaceChildren(shown, nextOf(reply, step));
  }
}

/**
 * What could be written next.
 * @param {InternalsReply} reply
 * @param {number} step
 */
function nextOf(reply, step) {
  const rows = reply.next[step].map(({ token, log_prob: log }) => [shownToken(token), bar(Math.exp(log))]);
  const shown = table(t("learn.next.caption"), [t("learn.next.token"), t("learn.next.probability")], rows);
  const written = make("p", { class: "figure" }, t("learn.next.chosen", { token: shownToken(reply.target_tokens[step]) }));
  return make("div", {}, shown, written);
}

/** A small map of each head of a layer; one is chosen by pressing it. */
export class Heads {
  #root = find("all-heads", HTMLElement);

  /** @param {(head: number) => void} onChoose */
  constructor(onChoose) {
    rove(this.#root, "button", () => this.#root.children.length);
    this.#root.addEventListener("click", (event) => {
      const button = event.target instanceof Element ? event.target.closest("button") : null;
      if (button) onChoose(Number(button.dataset.head));
    });
  }

  /** @param {InternalsReply} reply */
  show(reply) {
    const hadFocus = this.#root.contains(document.activeElement);
    const ramp = [colour("--heat-0"), colour("--heat-1"), colour("--heat-2"), colour("--heat-3")].map(channels);
    const buttons = reply.heads.map((weights, head) => {
      const chosen = head === reply.head;
      const name = t("learn.heads.one", { head });
      const button = make("button", { type: "button", "aria-label": name, "aria-pressed": String(chosen), tabindex: chosen ? 0 : -1 });
      button.dataset.head = String(head);
      const canvas = thumbnail(Float32Array.from(weights.flat()), reply.columns.length, ramp);
      button.append(canvas, make("span", { "aria-hidden": "true" }, String(head)));
      return button;
    });
    this.#root.replaceChildren(...buttons);
    if (hadFocus) buttons[reply.head].focus();
  }
}
