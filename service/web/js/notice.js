/** One message for the person at a time, with the way on: wait, or try again. */

import { ApiError, keepKey, keptKey } from "./api.js";
import { make } from "./dom.js";
import { t } from "./i18n.js";

/** How often a refused request is sent again without being told to. */
const AUTOMATIC = 3;

export class Notice {
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;
  #attempts = 0;
  #online = new AbortController();

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
  }

  clear() {
    this.#attempts = 0;
    this.#show([]);
  }

  /** @param {string} text */
  say(text) {
    this.#show([make("span", {}, text)]);
  }

  /**
   * What became of a request, and `again` as a button; after a refusal also by itself, when the service said to.
   * @param {unknown} error
   * @param {() => void} again
   */
  explain(error, again) {
    const known = error instanceof ApiError ? error : new ApiError("broken", String(error));
    const text = known.problem === "too_long" ? t("error.too_long.server") : t(`error.${known.problem}`);
    const parts = [make("span", {}, text)];
    if (known.problem === "key") {
      // Where one was given already, why it is not enough.
      if (keptKey()) parts.push(make("span", { class: "detail", lang: "en" }, known.message));
      this.#show([...parts, this.#keyForm(again)]);
      return;
    }
    if (known.problem !== "offline") parts.push(make("span", { class: "detail", lang: "en" }, known.message));
    const waiting = make("span", { class: "waiting" });
    const button = make("button", { type: "button", class: "quiet small" }, t("retry"));
    button.addEventListener("click", again);
    this.#show([...parts, waiting, button]);
    if ((known.problem === "busy" || known.problem === "rate") && known.retryAfter !== null && this.#attempts < AUTOMATIC) {
      this.#attempts += 1;
      this.#countDown(waiting, Math.ceil(known.retryAfter), again);
    }
    if (known.problem === "offline") addEventListener("online", again, { signal: this.#online.signal });
  }

  /**
   * Where a key is asked for; this browser keeps it.
   * @param {() => void} again
   */
  #keyForm(again) {
    const input = make("input", { type: "password", id: "key", autocomplete: "off", value: keptKey() });
    const label = make("label", { for: "key" }, t("key.label"));
    const form = make("form", { class: "key" }, label, input, make("button", { class: "quiet small" }, t("key.keep")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      keepKey(input.value.trim());
      again();
    });
    return form;
  }

  /**
   * @param {HTMLElement} element
   * @param {number} seconds
   * @param {() => void} then
   */
  #countDown(element, seconds, then) {
    let left = seconds;
    element.textContent = t("retry.in", { seconds: left });
    this.#timer = setInterval(() => {
      left -= 1;
      element.textContent = t("retry.in", { seconds: left });
      if (left > 0) return;
      clearInterval(this.#timer);
      then();
    }, 1000);
  }

  /** @param {Node[]} parts */
  #show(parts) {
    clearInterval(this.#timer);
    this.#online.abort();
    this.#online = new AbortController();
    this.root.replaceChildren(...parts);
  }
}
