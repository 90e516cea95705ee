/** The words of a sentence above those of its translation, with lines between those that belong together. */

/** @import {Version} from "./types.js" */
/** @import {Word} from "./words.js" */
import { make, rove } from "./dom.js";
import { languageTag, number, t } from "./i18n.js";
import { wordsOf } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const MOST_LINES = 2;

/** @typedef {"source" | "target"} Side */

export class AlignmentView {
  /** @type {Record<Side, HTMLButtonElement[]>} */
  #buttons = { source: [], target: [] };
  /** @type {Record<Side, Word[]>} */
  #words = { source: [], target: [] };
  /** @type {{path: SVGPathElement, source: number, target: number}[]} */
  #lines = [];
  #picture = document.createElementNS(SVG, "svg");
  #frame = make("div", { class: "weave" });
  /** @type {{side: Side, index: number} | null} */
  #pinned = null;

  /**
   * @param {HTMLElement} root
   * @param {HTMLElement} reading where what is pointed at is said
   */
  constructor(root, reading) {
    this.reading = reading;
    this.#picture.setAttribute("aria-hidden", "true");
    root.append(this.#frame);
    rove(this.#frame, "button", () => 1e6);
    this.#frame.addEventListener("pointerover", (event) => this.#point(event.target));
    this.#frame.addEventListener("pointerleave", () => this.#light(this.#pinned));
    this.#frame.addEventListener("focusin", (event) => this.#point(event.target));
    this.#frame.addEventListener("focusout", () => this.#light(this.#pinned));
    this.#frame.addEventListener("click", (event) => this.#pin(event.target));
    this.#frame.addEventListener("keydown", (event) => this.#cross(event));
    new ResizeObserver(() => this.#draw()).observe(this.#frame);
  }

  /**
   * @param {Version} version
   * @param {{source: string, target: string}} languages
   */
  show({ source, target, segment }, languages) {
    const { sources, targets } = wordsOf(segment, source, target);
    this.#words = { source: sources, target: targets };
    this.#pinned = null;
    const rows = /** @type {const} */ (["source", "target"]).map((side) => this.#row(side, languages[side]));
    this.#frame.replaceChildren(this.#picture, ...rows);
    const first = this.#buttons.source[0] ?? this.#buttons.target[0];
    if (first) first.tabIndex = 0;
    this.#lines = targets.flatMap((word, j) => word.links.map((link) => this.#line(link.word, j, link.weight)));
    this.#picture.replaceChildren(...this.#lines.map(({ path }) => path));
    this.#light(null);
    this.#draw();
  }

  /**
   * @param {Side} side
   * @param {string} language
   */
  #row(side, language) {
    this.#buttons[side] = this.#words[side].map((word, index) => {
      const button = make("button", { type: "button", class: "word", tabindex: -1 }, make("span", { lang: languageTag(language) }, word.text));
      button.dataset.side = side;
      button.dataset.index = String(index);
      if (word.probability !== null) {
        button.style.setProperty("--doubt", String(1 - word.probability));
        button.append(make("small", { "aria-hidden": "true" }, percent(word.probability)));
      }
      button.setAttribute("aria-label", this.#describe(side, index));
      return button;
    });
    return make("div", { class: `words ${side}`, role: "group", "aria-label": t(`alignment.${side}`) }, ...this.#buttons[side]);
  }

  /**
   * @param {number} source
   * @param {number} target
   * @param {number} weight
   */
  #line(source, target, weight) {
    const path = document.createElementNS(SVG, "path");
    path.style.setProperty("--weight", String(weight));
    return { path, source, target };
  }

  #draw() {
    const frame = this.#frame.getBoundingClientRect();
    if (frame.width === 0) return;
    this.#picture.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
    for (const { path, source, target } of this.#lines) {
      const from = this.#buttons.source[source].getBoundingClientRect();
      const to = this.#buttons.target[target].getBoundingClientRect();
      const [x1, y1] = [from.left + from.width / 2 - frame.left, from.bottom - frame.top];
      const [x2, y2] = [to.left + to.width / 2 - frame.left, to.top - frame.top];
      const middle = (y1 + y2) / 2;
      path.setAttribute("d", `M${x1} ${y1}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}`);
    }
    // On many lines the curves would run across the words: then only those of the word pointed at are drawn.
    const lines = Math.max(lineCount(this.#buttons.source), lineCount(this.#buttons.target));
    this.#frame.classList.toggle("wrapped", lines > MOST_LINES);
  }

  /** @param {EventTarget | null} target */
  #wordAt(target) {
    const button = target instanceof Element ? target.closest("button") : null;
    if (!(button instanceof HTMLButtonElement) || !this.#frame.contains(button)) return null;
    return { side: /** @type {Side} */ (button.dataset.side), index: Number(button.dataset.index) };
  }

  /** @param {EventTarget | null} target */
  #point(target) {
    this.#light(this.#wordAt(target) ?? this.#pinned);
  }

  /** @param {EventTarget | null} target */
  #pin(target) {
    const word = this.#wordAt(target);
    const again = word && this.#pinned && word.side === this.#pinned.side && word.index === this.#pinned.index;
    this.#pinned = again ? null : word;
    this.#light(this.#pinned);
  }

  /**
   * Up and down go to the word it belongs to.
   * @param {KeyboardEvent} event
   */
  #cross(event) {
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    event.preventDefault();
    const word = this.#wordAt(event.target);
    const other = event.key === "ArrowUp" ? "source" : "target";
    if (!word || word.side === other) return;
    const [link] = this.#words[word.side][word.index].links;
    this.#buttons[other][link?.word ?? Math.min(word.index, this.#buttons[other].length - 1)]?.focus();
  }

  /** @param {{side: Side, index: number} | null} word */
  #light(word) {
    const linked = { source: new Set(), target: new Set() };
    if (word) {
      linked[word.side].add(word.index);
      for (const link of this.#words[word.side][word.index].links) linked[opposite(word.side)].add(link.word);
    }
    for (const side of /** @type {const} */ (["source", "target"])) {
      this.#buttons[side].forEach((button, index) => {
        button.classList.toggle("lit", linked[side].has(index));
        button.classList.toggle("here", word?.side === side && word.index === index);
        button.setAttribute("aria-pressed", String(this.#pinned?.side === side && this.#pinned.index === index));
      });
    }
    for (const { path, source, target } of this.#lines) {
      path.classList.toggle("lit", word !== null && { source, target }[word.side] === word.index);
    }
    this.#frame.classList.toggle("pointing", word !== null);
    this.reading.textContent = word ? this.#describe(word.side, word.index) : t("alignment.hint");
  }

  /**
   * @param {Side} side
   * @param {number} index
   */
  #describe(side, index) {
    const word = this.#words[side][index];
    const others = this.#words[opposite(side)];
    const links = word.links.map((link) => `${others[link.word].text} (${number(link.weight, 2, 2)})`);
    const said =
      links.length > 0
        ? t("alignment.links", { word: word.text, words: links.join(", ") })
        : t("alignment.none", { word: word.text });
    return word.probability === null ? said : `${said} · ${t("alignment.sure", { percent: percent(word.probability) })}`;
  }
}

/** @param {Side} side @returns {Side} */
function opposite(side) {
  return side === "source" ? "target" : "source";
}

/** @param {number} probability */
function percent(probability) {
  return number(100 * probability);
}

/** @param {HTMLElement[]} buttons */
function lineCount(buttons) {
  return new Set(buttons.map((button) => button.offsetTop + button.offsetHeight)).size;
}
