/** The desk: languages, text, translation. Sends what is typed after a pause, and forgets answers that came too late. */

/** @import {Language, Limits, Question, Reply} from "./types.js" */
import { isAbort } from "./api.js";
import { find, fill, make } from "./dom.js";
import { languageName, languageTag, number, t } from "./i18n.js";
import { Notice } from "./notice.js";
import { range } from "./maps.js";
import { length } from "./text.js";

const PAUSE_MS = 250;
const COPIED_MS = 1500;
/** Code points of a text that is shown sentence by sentence while it is translated. */
const LONG_TEXT = 500;
const OFFERED_ALTERNATIVES = [0, 1, 2, 3, 5, 7];

export class Desk {
  #source = find("source-language", HTMLSelectElement);
  #target = find("target-language", HTMLSelectElement);
  #text = find("source-text", HTMLTextAreaElement);
  #output = find("target-text", HTMLElement);
  #others = find("alternatives", HTMLElement);
  #alternatives = find("alternatives-count", HTMLSelectElement);
  #count = find("count", HTMLElement);
  #time = find("time", HTMLElement);
  #notice = new Notice(find("notice", HTMLElement));
  /** @type {Language[]} */
  #languages = [];
  /** @type {Limits} */
  #limits = { charLimit: Infinity, maxAlternatives: 0 };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pause;
  #request = new AbortController();
  /** @type {{reply: Reply, milliseconds: number} | null} */
  #answer = null;

  /**
   * @param {import("./api.js").Service} service
   * @param {(question: Question) => void} onQuestion what is asked has changed
   * @param {(question: Question | null) => void} onAnswer it has been translated; null: nothing is there
   */
  constructor(service, onQuestion, onAnswer) {
    this.service = service;
    this.onQuestion = onQuestion;
    this.onAnswer = onAnswer;
    this.#text.addEventListener("input", () => this.#changed(PAUSE_MS));
    this.#text.addEventListener("keydown", (event) => {
      // Enter asks at once and with Shift is a line break; while an input method is composing, it is its own.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#changed(0);
    });
    this.#source.addEventListener("change", () => {
      const { source, target } = this.question;
      const targets = this.#targets(source);
      this.ask({ ...this.question, target: targets.includes(target) ? target : (targets[0] ?? target) });
    });
    this.#target.addEventListener("change", () => this.#changed(0));
    this.#alternatives.addEventListener("change", () => this.#changed(0));
    find("swap", HTMLButtonElement).addEventListener("click", () => this.#swap());
    find("clear", HTMLButtonElement).addEventListener("click", () => {
      this.#text.value = "";
      this.#text.focus();
      this.#changed(0);
    });
    const copy = find("copy", HTMLButtonElement);
    copy.addEventListener("click", () => this.copy(copy, this.#answer?.reply.translatedText ?? "", t("copied")));
  }

  /** @returns {Question} */
  get question() {
    return {
      source: this.#source.value,
      target: this.#target.value,
      text: this.#text.value,
      alternatives: Number(this.#alternatives.value),
    };
  }

  /**
   * What the service offers; until then the desk is empty.
   * @param {Language[]} languages
   * @param {Limits} limits
   */
  open(languages, limits) {
    this.#languages = languages;
    this.#limits = limits;
  }

  /**
   * Ask this.
   * @param {Question} question
   */
  ask(question) {
    this.#text.value = question.text;
    this.#offer(question);
    this.#changed(0);
  }

  /** The texts again, in the language of the interface. */
  relabel() {
    this.#offer(this.question);
    this.#showCount();
    this.#showAnswer();
  }

  /**
   * Why the service could not be asked at all.
   * @param {unknown} error
   * @param {() => void} again
   */
  explain(error, again) {
    this.#notice.explain(error, again);
  }

  /**
   * @param {HTMLButtonElement} button
   * @param {string} text
   * @param {string} done what the button says for a while
   */
  async copy(button, text, done) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      this.#notice.say(t("error.copy"));
      return;
    }
    button.textContent = done;
    setTimeout(() => {
      button.textContent = t(/** @type {import("./strings.js").Key} */ (button.dataset.i18n));
    }, COPIED_MS);
  }

  /** @param {number} pause before it is sent, in milliseconds */
  #changed(pause) {
    clearTimeout(this.#pause);
    this.#request.abort();
    this.#showCount();
    this.onQuestion(this.question);
    this.#pause = setTimeout(() => this.#send(), pause);
  }

  async #send() {
    clearTimeout(this.#pause);
    const question = this.question;
    const complaint = this.#complaint(question);
    if (!question.text.trim() || complaint) {
      this.#notice.clear();
      if (complaint) this.#notice.say(complaint);
      this.#answered(question, null);
      return;
    }
    this.#request.abort();
    this.#request = new AbortController();
    const { signal } = this.#request;
    const began = performance.now();
    this.#output.setAttribute("aria-busy", "true");
    try {
      const { text, ...rest } = question;
      const body = { q: text.toWellFormed(), ...rest };
      const reply = await (length(text) < LONG_TEXT
        ? this.service.translate(body, signal)
        : this.service.stream(body, signal, (soFar) => this.#showSoFar(soFar, question)));
      this.#notice.clear();
      this.#warn(reply);
      this.#answered(question, { reply, milliseconds: performance.now() - began });
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      this.#answered(question, null);
      this.#notice.explain(error, () => this.#send());
    }
  }

  /**
   * What is wrong with a question before it is asked.
   * @param {Question} question
   */
  #complaint({ source, target, text }) {
    const count = length(text);
    const limit = this.#limits.charLimit;
    if (count > limit) return t("error.too_long", { count: number(count), limit: number(limit) });
    const targets = this.#targets(source);
    if (targets.includes(target)) return "";
    if (targets.length === 0) return t("error.pair.none", { source: this.#name(source) });
    const names = targets.map((each) => this.#name(each)).join(", ");
    return t("error.pair", { source: this.#name(source), target: this.#name(target), targets: names });
  }

  /** @param {Reply} reply */
  #warn(reply) {
    const kinds = new Set(reply.warnings?.map(({ warning }) => warning));
    const said = /** @type {const} */ (["truncated", "repetition", "already_in_target"]).filter((kind) => kinds.has(kind));
    if (said.length > 0) this.#notice.say(said.map((kind) => t(`warning.${kind}`)).join(" "));
  }

  /**
   * @param {Question} question
   * @param {{reply: Reply, milliseconds: number} | null} answer
   */
  #answered(question, answer) {
    this.#output.removeAttribute("aria-busy");
    this.#answer = answer;
    this.#showAnswer();
    this.onAnswer(answer && question);
  }

  /**
   * @param {string} text the beginning of the translation
   * @param {Question} question
   */
  #showSoFar(text, question) {
    this.#output.classList.remove("nothing");
    this.#output.textContent = text;
    this.#output.lang = question.target;
  }

  #showAnswer() {
    const { reply, milliseconds = 0 } = this.#answer ?? {};
    this.#output.classList.toggle("nothing", !reply);
    this.#output.textContent = reply?.translatedText ?? t("target.empty");
    this.#output.lang = reply ? this.question.target : document.documentElement.lang;
    this.#time.textContent = reply ? t("time", { time: number(milliseconds) }) : "";
    const others = reply?.alternatives ?? [];
    this.#others.replaceChildren();
    if (others.length === 0) return;
    const items = others.map((text) => make("li", { lang: this.question.target }, text));
    this.#others.append(make("p", { class: "label" }, t("alternatives.title")), make("ol", { tabindex: 0, "aria-label": t("alternatives.title") }, ...items));
  }

  #showCount() {
    const count = length(this.#text.value);
    const limit = this.#limits.charLimit;
    this.#count.classList.toggle("over", count > limit);
    this.#count.textContent = Number.isFinite(limit) ? t("count", { count: number(count), limit: number(limit) }) : "";
  }

  /**
   * The choices, with these chosen; also what a link names and this service does not have, so that it can be said.
   * @param {Question} question
   */
  #offer({ source, target, alternatives }) {
    const targets = this.#targets(source);
    const sources = unique([...this.#languages.map(({ code }) => code), source]);
    const known = this.#languages.flatMap((each) => each.targets).filter((each) => each !== source);
    fill(this.#source, sources.map((code) => ({ value: code, label: this.#name(code) })), source);
    fill(
      this.#target,
      unique([...targets, ...known, target]).map((code) => ({ value: code, label: this.#label(code, source, targets) })),
      target,
    );
    const most = this.#limits.maxAlternatives;
    const counts = OFFERED_ALTERNATIVES.filter((count) => count <= most);
    const chosen = Math.min(alternatives, most);
    const offered = range(most + 1).filter((count) => counts.includes(count) || count === chosen);
    fill(this.#alternatives, offered.map((count) => ({ value: String(count), label: String(count) })), String(chosen));
    this.#text.lang = languageTag(source);
  }

  /**
   * @param {string} code
   * @param {string} source
   * @param {string[]} targets
   */
  #label(code, source, targets) {
    const language = this.#name(code);
    return targets.includes(code) ? language : t("unavailable", { language, source: this.#name(source) });
  }

  #swap() {
    const { source, target } = this.question;
    const text = this.#answer?.reply.translatedText ?? this.#text.value;
    this.ask({ ...this.question, source: target, target: source, text });
  }

  /** @param {string} source */
  #targets(source) {
    return this.#languages.find(({ code }) => code === source)?.targets ?? [];
  }

  /** @param {string} code */
  #name(code) {
    return languageName(code, this.#languages.find((each) => each.code === code)?.name ?? code);
  }
}

/** @param {string[]} values */
function unique(values) {
  return [...new Set(values)];
}
