/** Files: chosen or dropped, sent one after the other, with how far each is, until they can be taken along. */

/** @import {Limits, Progress} from "./types.js" */
import { ApiError, isAbort } from "./api.js";
import { find, make } from "./dom.js";
import { number, t } from "./i18n.js";

const POLL_MS = 400;

/** @typedef {"waiting" | "sending" | "working" | "done" | "failed" | "cancelled"} Phase */

/** One file, and the line that tells of it. */
class Entry {
  /** @type {Phase} */
  phase = "waiting";
  /** @type {Progress | null} */
  progress = null;
  /** @type {unknown} */
  error = null;
  address = "";
  stop = new AbortController();
  #bar = make("progress", { max: 1 });
  #status = make("span", { class: "file-status", role: "status" });
  #detail = make("span", { class: "detail", lang: "en" });
  #action = make("button", { type: "button", class: "quiet small" });
  #download = make("a", { class: "quiet small", download: true });

  /**
   * @param {File} file
   * @param {{source: string, target: string}} languages
   * @param {(entry: Entry) => void} onAction cancel, try again, or remove
   */
  constructor(file, languages, onAction) {
    this.file = file;
    this.languages = languages;
    const again = make("button", { type: "button", class: "quiet small" });
    this.again = again;
    this.onAgain = () => {};
    again.addEventListener("click", () => this.onAgain());
    this.#action.addEventListener("click", () => onAction(this));
    this.line = make(
      "li", {}, make("span", { class: "file-name" }, file.name), this.#bar, this.#status, this.#detail, this.#download, again,
      this.#action,
    );
    this.show();
  }

  get isOver() {
    return this.phase === "done" || this.phase === "failed" || this.phase === "cancelled";
  }

  show() {
    const { name } = this.file;
    const share = this.progress && this.progress.total > 0 ? this.progress.done / this.progress.total : 0;
    this.#bar.hidden = this.isOver;
    this.#bar.setAttribute("aria-label", t("file.progress", { name }));
    if (this.phase === "working") this.#bar.value = share;
    else this.#bar.removeAttribute("value");
    this.#status.textContent = this.#said(share);
    this.#detail.textContent = this.error instanceof ApiError && this.error.problem !== "offline" ? this.error.message : "";
    this.#label(this.#action, this.isOver ? t("file.remove") : t("file.cancel"));
    this.#label(this.again, t("retry"));
    this.again.hidden = this.phase !== "failed" && this.phase !== "cancelled";
    this.#label(this.#download, t("file.download"));
    this.#download.hidden = this.phase !== "done";
    if (this.address) this.#download.href = this.address;
    this.line.classList.toggle("failed", this.phase === "failed");
  }

  /** Its button, where the keyboard goes next. */
  focus() {
    (this.phase === "done" ? this.#download : this.#action).focus();
  }

  /** @param {number} share */
  #said(share) {
    if (this.phase === "failed") {
      const problem = this.error instanceof ApiError ? this.error.problem : "broken";
      return problem === "too_long" ? t("file.too_large") : t(`error.${problem}`);
    }
    return t(`file.${this.phase}`, { percent: number(100 * share) });
  }

  /**
   * @param {HTMLElement} element
   * @param {string} action
   */
  #label(element, action) {
    element.textContent = action;
    element.setAttribute("aria-label", t("file.named", { action, name: this.file.name }));
  }
}

export class Files {
  #section = find("files", HTMLElement);
  #list = /** @type {HTMLElement} */ (find("files", HTMLElement).querySelector("ul"));
  #button = find("choose-file", HTMLButtonElement);
  #input = find("file", HTMLInputElement);
  /** @type {Entry[]} */
  #entries = [];
  #turn = Promise.resolve();

  /**
   * @param {import("./api.js").Service} service
   * @param {() => {source: string, target: string}} languages those that are chosen
   */
  constructor(service, languages) {
    this.service = service;
    this.languages = languages;
    this.#button.addEventListener("click", () => this.#input.click());
    this.#input.addEventListener("change", () => {
      this.add([...(this.#input.files ?? [])]);
      // The same file again is a change too.
      this.#input.value = "";
    });
  }

  /** @param {Limits} limits what the service offers */
  open({ filesTranslation, supportedFilesFormat = [] }) {
    if (!filesTranslation || !this.#button.hidden) return;
    this.#button.hidden = false;
    this.#input.accept = supportedFilesFormat.join(",");
    const root = document.documentElement;
    document.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      root.classList.add("dropping");
    });
    document.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) root.classList.remove("dropping");
    });
    document.addEventListener("drop", (event) => {
      root.classList.remove("dropping");
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      this.add([...event.dataTransfer.files]);
    });
  }

  /** The texts again, in the language of the interface. */
  relabel() {
    for (const entry of this.#entries) entry.show();
  }

  /** @param {File[]} files */
  add(files) {
    for (const file of files) {
      const entry = new Entry(file, this.languages(), (each) => this.#stopOrRemove(each));
      entry.onAgain = () => this.#begin(entry);
      this.#entries.push(entry);
      this.#list.append(entry.line);
      this.#begin(entry);
    }
    this.#section.hidden = this.#entries.length === 0;
    if (files.length > 0) this.#entries.at(-1)?.focus();
  }

  /** @param {Entry} entry */
  #begin(entry) {
    Object.assign(entry, { phase: "waiting", progress: null, error: null, stop: new AbortController() });
    entry.show();
    this.#turn = this.#turn.then(() => this.#translate(entry));
  }

  /** @param {Entry} entry */
  async #translate(entry) {
    const { signal } = entry.stop;
    if (signal.aborted) return;
    const id = crypto.getRandomValues(new Uint32Array(4)).join("-");
    entry.phase = "sending";
    entry.show();
    const timer = setInterval(() => void this.#poll(entry, id), POLL_MS);
    try {
      entry.address = await this.service.translateFile(entry.file, entry.languages, id, signal);
      entry.phase = "done";
    } catch (error) {
      entry.phase = signal.aborted || isAbort(error) ? "cancelled" : "failed";
      entry.error = entry.phase === "failed" ? error : null;
    } finally {
      clearInterval(timer);
    }
    entry.show();
  }

  /**
   * @param {Entry} entry
   * @param {string} id
   */
  async #poll(entry, id) {
    const progress = await this.service.fileProgress(id, entry.stop.signal);
    if (!progress || entry.isOver) return;
    entry.phase = "working";
    entry.progress = progress;
    entry.show();
  }

  /** @param {Entry} entry */
  #stopOrRemove(entry) {
    if (!entry.isOver) {
      entry.stop.abort();
      entry.phase = "cancelled";
      entry.show();
      return;
    }
    const place = this.#entries.indexOf(entry);
    this.#entries.splice(place, 1);
    entry.line.remove();
    this.#section.hidden = this.#entries.length === 0;
    (this.#entries[Math.min(place, this.#entries.length - 1)] ?? { focus: () => this.#button.focus() }).focus();
  }
}
