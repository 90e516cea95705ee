/** How it was translated: one sentence at a time, its words, what else the beam found, and the attention maps. */

/** @import {Choice, Kind, Look, Question, Segment, Version} from "./types.js" */
/** @import {Stack} from "./maps.js" */
/** @import {Key} from "./strings.js" */
import { AlignmentView } from "./alignment.js";
import { isAbort } from "./api.js";
import { find, fill, make } from "./dom.js";
import { jsonBlob, pngBlob, save, svgBlob } from "./download.js";
import { HeadGrid, HeatMap } from "./heatmap.js";
import { number, t } from "./i18n.js";
import { axes, range, select, unpack } from "./maps.js";
import { Notice } from "./notice.js";
import { KINDS } from "./state.js";
import { beginning, length, slice } from "./text.js";
import { differences, wordsOf } from "./words.js";

/** How long nothing must change before it is asked for: it costs the service more than the translation. */
const PAUSE_MS = 400;
/** Code points of a text whose sentences are looked up. */
const READ = 10_000;
const PNG_SCALE = 2;

export class LookView {
  #body = find("look-body", HTMLElement);
  #toggle = find("look-toggle", HTMLButtonElement);
  #empty = find("look-empty", HTMLElement);
  #content = find("look-content", HTMLElement);
  #note = find("look-note", HTMLElement);
  #sentences = find("sentences", HTMLElement);
  #sentence = find("sentence", HTMLSelectElement);
  #versionsPanel = find("versions-panel", HTMLElement);
  #versionCards = find("versions", HTMLElement);
  #kind = find("kind", HTMLSelectElement);
  #layer = find("layer", HTMLSelectElement);
  #head = find("head", HTMLSelectElement);
  #map = find("heatmap", HTMLElement);
  #notice = new Notice(make("div", { class: "notice", role: "alert" }));
  #alignment = new AlignmentView(find("alignment", HTMLElement), find("alignment-reading", HTMLElement));
  #heatMap = new HeatMap(this.#map, find("cell-reading", HTMLElement), find("weight-most", HTMLElement));
  #heads = new HeadGrid(find("heads", HTMLElement), (layer, head) => this.#change({ layer, head }));
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pause;
  #request = new AbortController();
  /** @type {Question | null} */
  #question = null;
  /** @type {Question} the one whose sentences have been found */
  #looked = { source: "", target: "", text: "", alternatives: 0 };
  /** @type {Key} */
  #instead = "look.empty";
  /** @type {string[]} sentences of the source */
  #found = [];
  /** @type {Version[]} the translation, then the alternatives */
  #versions = [];
  /** @type {Stack[]} of the chosen kind, one for each version */
  #stacks = [];

  /**
   * @param {import("./api.js").Service} service
   * @param {Look} look
   * @param {(change: Partial<Look>) => void} onChange
   */
  constructor(service, look, onChange) {
    this.service = service;
    this.look = look;
    this.onChange = onChange;
    this.#body.prepend(this.#notice.root);
    this.#toggle.addEventListener("click", () => {
      this.#change({ open: !this.look.open });
      this.#showOpen();
      this.#ask(0);
    });
    const step = (/** @type {number} */ by) => () => this.#choose(this.look.sentence + by);
    find("previous", HTMLButtonElement).addEventListener("click", step(-1));
    find("next", HTMLButtonElement).addEventListener("click", step(1));
    this.#sentence.addEventListener("change", () => this.#choose(Number(this.#sentence.value)));
    this.#versionCards.addEventListener("click", (event) => {
      const card = event.target instanceof Element ? event.target.closest("button") : null;
      if (card) this.#change({ version: Number(card.dataset.version) });
      this.#showVersion();
    });
    this.#kind.addEventListener("change", () => {
      this.#change({ kind: /** @type {Kind} */ (this.#kind.value), layer: null, head: "mean" });
      this.#stacks = [];
      void this.#askAttention();
    });
    this.#layer.addEventListener("change", () => this.#change({ layer: choice(this.#layer.value) }));
    this.#head.addEventListener("change", () => this.#change({ head: choice(this.#head.value) }));
    find("zoom-in", HTMLButtonElement).addEventListener("click", () => this.#heatMap.zoom(1.25));
    find("zoom-out", HTMLButtonElement).addEventListener("click", () => this.#heatMap.zoom(0.8));
    find("zoom-fit", HTMLButtonElement).addEventListener("click", () => this.#heatMap.zoom(null));
    find("download-svg", HTMLButtonElement).addEventListener("click", () => this.#download("svg"));
    find("download-png", HTMLButtonElement).addEventListener("click", () => this.#download("png"));
    find("download-json", HTMLButtonElement).addEventListener("click", () => this.#download("json"));
    this.#empty.textContent = t(this.#instead);
    this.#showOpen();
  }

  /**
   * What has been translated; null: nothing.
   * @param {Question | null} question
   */
  show(question) {
    const same = question !== null && this.#question !== null && question.text === this.#question.text;
    if (this.#question !== null && !same) this.#change({ sentence: 0, version: 0 });
    this.#question = question;
    this.#ask(PAUSE_MS);
  }

  /** The view a link names. @param {Look} look */
  restore(look) {
    this.look = look;
    this.#question = null;
    this.#showOpen();
  }

  /** Again, after language or colours have changed. */
  relabel() {
    this.#showOpen();
    this.#empty.textContent = t(this.#instead);
    if (this.#versions.length > 0) this.#showVersion();
    if (this.#stacks.length > 0) this.#showStack();
  }

  /** @param {number} pause in milliseconds */
  #ask(pause) {
    clearTimeout(this.#pause);
    this.#request.abort();
    this.#body.removeAttribute("aria-busy");
    if (!this.look.open) return;
    this.#pause = setTimeout(() => this.#askSentences(), pause);
  }

  async #askSentences() {
    this.#notice.clear();
    const question = this.#question;
    if (!question) {
      this.#clear("look.empty");
      return;
    }
    if (this.#versions.length === 0) this.#clear("look.loading");
    const text = beginning(question.text.toWellFormed(), READ);
    const reply = await this.#send({ ...question, q: text, alternatives: 0 }, {}, () => this.#askSentences());
    if (!reply) return;
    this.#looked = question;
    this.#found = (reply.segments ?? []).map((segment) => slice(text, segment.source_span));
    this.#note.hidden = length(text) === length(question.text);
    this.#note.textContent = t("look.part", { count: number(length(text)) });
    if (this.#found.length === 0) {
      this.#clear("look.nothing");
      return;
    }
    this.#choose(Math.min(this.look.sentence, this.#found.length - 1), this.look.version);
  }

  /**
   * @param {number} sentence
   * @param {number} [version]
   */
  #choose(sentence, version = 0) {
    if (sentence < 0 || sentence >= this.#found.length) return;
    this.#change({ sentence, version });
    this.#showSentences();
    void this.#askSentence();
  }

  async #askSentence() {
    this.#request.abort();
    this.#stacks = [];
    const source = this.#found[this.look.sentence];
    const body = { ...this.#looked, q: source };
    const reply = await this.#send(body, { alignment: true }, () => this.#askSentence());
    if (!reply) return;
    const versions = [reply.segments ?? [], ...(reply.alternative_segments ?? [])];
    const texts = [reply.translatedText, ...(reply.alternatives ?? [])];
    this.#versions = versions.flatMap(([segment], index) => (segment ? [{ source, target: texts[index], segment }] : []));
    if (this.look.version >= this.#versions.length) this.#change({ version: 0 });
    this.#empty.hidden = true;
    this.#content.hidden = false;
    this.#showVersion();
    await this.#askAttention();
  }

  async #askAttention() {
    this.#notice.clear();
    const attention = { kinds: [this.look.kind], encoding: "float16-base64" };
    const body = { ...this.#looked, q: this.#found[this.look.sentence] };
    const reply = await this.#send(body, { attention }, () => this.#askAttention());
    if (!reply) return;
    const versions = [reply.segments ?? [], ...(reply.alternative_segments ?? [])];
    this.#stacks = versions.flatMap(([segment]) => {
      const packed = segment?.attention?.[this.look.kind];
      return packed ? [unpack(packed)] : [];
    });
    this.#showStack();
  }

  /**
   * The reply with details; undefined if it came too late or there is none, which has been said then.
   * @param {Question & {q: string}} question
   * @param {object} wanted
   * @param {() => void} again
   */
  async #send({ q, source, target, alternatives }, wanted, again) {
    this.#request.abort();
    this.#request = new AbortController();
    const { signal } = this.#request;
    this.#body.setAttribute("aria-busy", "true");
    try {
      const reply = await this.service.translate({ q, source, target, alternatives, details: true, ...wanted }, signal);
      this.#body.removeAttribute("aria-busy");
      return reply;
    } catch (error) {
      if (signal.aborted || isAbort(error)) return undefined;
      this.#body.removeAttribute("aria-busy");
      this.#notice.explain(error, again);
      return undefined;
    }
  }

  /** @param {Partial<Look>} change */
  #change(change) {
    this.look = { ...this.look, ...change };
    this.onChange(change);
    if (("layer" in change || "head" in change) && !("kind" in change) && this.#stacks.length > 0) this.#showMap();
  }

  /** @param {Key} instead what stands there when there is nothing to look at */
  #clear(instead) {
    this.#found = [];
    this.#versions = [];
    this.#stacks = [];
    this.#instead = instead;
    this.#empty.textContent = t(instead);
    this.#empty.hidden = false;
    this.#content.hidden = true;
    this.#showSentences();
  }

  #showOpen() {
    this.#body.hidden = !this.look.open;
    this.#toggle.setAttribute("aria-expanded", String(this.look.open));
    this.#toggle.textContent = t(this.look.open ? "look.hide" : "look.show");
    this.#showSentences();
  }

  #showSentences() {
    const count = this.#found.length;
    this.#sentences.hidden = count < 2 || !this.look.open;
    const options = range(count).map((index) => ({
      value: String(index),
      label: t("sentence.of", { number: index + 1, count }),
    }));
    fill(this.#sentence, options, String(this.look.sentence));
    find("previous", HTMLButtonElement).disabled = this.look.sentence === 0;
    find("next", HTMLButtonElement).disabled = this.look.sentence >= count - 1;
  }

  #showVersion() {
    this.#alignment.show(this.#versions[this.look.version], this.#looked);
    this.#versionsPanel.hidden = this.#versions.length < 2;
    const texts = this.#versions.map(({ source, target, segment }) =>
      wordsOf(segment, source, target).targets.map(({ text }) => text),
    );
    this.#versionCards.replaceChildren(
      ...this.#versions.map((version, rank) => this.#card(version, rank, differences(texts[0], texts[rank]), this.#looked.target)),
    );
    if (this.#stacks.length > 0) this.#showStack();
  }

  /**
   * @param {Version} version
   * @param {number} rank
   * @param {boolean[]} differs for each word of the translation
   * @param {string} language
   */
  #card({ target, segment }, rank, differs, language) {
    const name = rank === 0 ? t("versions.best") : t("versions.other", { rank });
    const facts = [
      `${t("versions.score")} ${number(segment.score, 2, 2)}`,
      `${t("versions.log_prob")} ${number(segment.log_prob, 2, 2)}`,
      `${t("versions.tokens")} ${number(segment.target_tokens.length)}`,
    ];
    const card = make(
      "button",
      { type: "button", class: "version", "aria-pressed": String(rank === this.look.version) },
      make("span", { class: "label" }, name),
      make("span", { class: "text", lang: language }, ...marked(target, segment, differs)),
      make("span", { class: "figure" }, ...facts.flatMap((fact, index) => [index ? " · " : "", make("span", {}, fact)])),
    );
    card.dataset.version = String(rank);
    return card;
  }

  #showStack() {
    const stack = this.#stacks[this.look.version];
    if (!stack) return;
    if (this.look.layer !== "mean" && (this.look.layer ?? 0) >= stack.layers) this.#change({ layer: null });
    if (this.look.head !== "mean" && this.look.head >= stack.heads) this.#change({ head: "mean" });
    this.#heads.show(stack);
    this.#showMap();
  }

  #showMap() {
    const { kind, head } = this.look;
    const stack = this.#stacks[this.look.version];
    const layer = this.look.layer ?? stack.layers - 1;
    fill(this.#kind, KINDS.map((each) => ({ value: each, label: t(`kind.${each}`) })), kind);
    fill(this.#layer, choices(stack.layers), String(layer));
    fill(this.#head, choices(stack.heads), String(head));
    find("kind-hint", HTMLElement).textContent = t(`hint.${kind}`);
    this.#map.setAttribute("aria-label", t("attention.map", { kind: t(`kind.${kind}`), layer: shown(layer), head: shown(head) }));
    this.#heads.mark(layer, head);
    const { segment } = this.#versions[this.look.version];
    void this.#heatMap.show({ ...axes(segment, kind), values: select(stack, layer, head) });
  }

  /** @param {"svg" | "png" | "json"} form */
  async #download(form) {
    const picture = this.#heatMap.picture;
    const stack = this.#stacks[this.look.version];
    if (!picture || !stack) return;
    const { kind, head, version } = this.look;
    const layer = this.look.layer ?? stack.layers - 1;
    const name = `attention-${kind}-layer-${layer}-head-${head}.${form}`;
    if (form === "svg") save(svgBlob(picture), name);
    else if (form === "png") save(await pngBlob(picture, PNG_SCALE), name);
    else save(jsonBlob(this.#record(this.#versions[version], stack, kind, layer, head)), name);
  }

  /**
   * What is on the screen, as data.
   * @param {Version} version
   * @param {Stack} stack
   * @param {Kind} kind
   * @param {Choice} layer
   * @param {Choice} head
   */
  #record({ source, target, segment }, stack, kind, layer, head) {
    const values = select(stack, layer, head);
    const weights = range(stack.rows).map((row) =>
      Array.from(values.slice(row * stack.columns, (row + 1) * stack.columns), (value) => Number(value.toFixed(4))),
    );
    return { source, target, segment, attention: { kind, layer, head, ...axes(segment, kind), weights } };
  }
}

/** @param {string} value @returns {Choice} */
function choice(value) {
  return value === "mean" ? "mean" : Number(value);
}

/** @param {Choice} value */
function shown(value) {
  return value === "mean" ? t("attention.mean") : value;
}

/** @param {number} count */
function choices(count) {
  return [{ value: "mean", label: t("attention.mean") }, ...range(count).map((index) => ({ value: String(index), label: String(index) }))];
}

/**
 * A translation with its words that differ marked.
 * @param {string} text
 * @param {Segment} segment
 * @param {boolean[]} differs
 */
function marked(text, { target_words: words }, differs) {
  let end = 0;
  /** @type {(Node | string)[]} */
  const parts = [];
  words.forEach(([from, to], index) => {
    const word = slice(text, [from, to]);
    parts.push(slice(text, [end, from]), differs[index] ? make("mark", {}, word) : word);
    end = to;
  });
  return parts;
}
