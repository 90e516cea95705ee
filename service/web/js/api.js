/** The service, as this page talks to it. */

/** @import {Language, Limits, Progress, Reply} from "./types.js" */

/** @typedef {"offline" | "busy" | "key" | "rate" | "late" | "too_long" | "refused" | "broken"} Problem */

/** What the service says where a key is needed, and of one that is none. */
const KEY_MISSING = "Please contact the server operator to get an API key";
const KEY_REFUSED = "Invalid API key";
const KEPT = "attend.key";

/** The key that this browser keeps for this service; empty if none. */
export function keptKey() {
  try {
    return localStorage.getItem(KEPT) ?? "";
  } catch {
    return ""; // no storage is allowed here
  }
}

/** @param {string} key to be kept; empty: forget it */
export function keepKey(key) {
  try {
    if (key) localStorage.setItem(KEPT, key);
    else localStorage.removeItem(KEPT);
  } catch {
    // It lasts as long as the page then: it does not.
  }
}

/** A request that brought no answer; `message` is the service's own sentence, in English. */
export class ApiError extends Error {
  /**
   * @param {Problem} problem
   * @param {string} message
   * @param {number | null} [retryAfter] seconds after which the service wants to be asked again
   */
  constructor(problem, message, retryAfter = null) {
    super(message);
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

/**
 * @param {number} status
 * @param {string} message
 * @returns {Problem}
 */
export function problemOf(status, message) {
  if (status === 503) return "busy";
  if (status === 401 || message === KEY_MISSING || message === KEY_REFUSED) return "key";
  if (status === 429) return "rate";
  if (status === 504 || status === 408) return "late";
  if (status === 413 || (status === 400 && message.includes("text limit"))) return "too_long";
  return status >= 500 ? "broken" : "refused";
}

/**
 * Seconds of a `Retry-After` header, within reason.
 * @param {string | null} header
 */
export function retryAfter(header) {
  const seconds = Number(header);
  return header !== null && Number.isFinite(seconds) && seconds >= 0 ? Math.min(Math.max(seconds, 1), 60) : null;
}

export class Service {
  /** @param {string} base address the paths of the API are relative to */
  constructor(base) {
    this.base = base;
  }

  /** @returns {Promise<Language[]>} */
  async languages() {
    return (await this.#ask("languages")).json();
  }

  /** @returns {Promise<Limits>} */
  async limits() {
    return (await this.#ask("frontend/settings")).json();
  }

  /** @returns {Promise<string>} in the Prometheus text format */
  async metrics() {
    return (await this.#ask("metrics")).text();
  }

  /**
   * @param {object} body
   * @param {AbortSignal} signal
   * @returns {Promise<Reply>}
   */
  async translate(body, signal) {
    const headers = { "Content-Type": "application/json" };
    return (await this.#ask("translate", { method: "POST", headers, body: JSON.stringify(body), signal })).json();
  }

  /**
   * What happens inside the network, see `learn_types.js`.
   * @param {"internals" | "internals/search"} path
   * @param {object} body
   * @param {AbortSignal} signal
   * @returns {Promise<any>}
   */
  async inside(path, body, signal) {
    const headers = { "Content-Type": "application/json" };
    return (await this.#ask(path, { method: "POST", headers, body: JSON.stringify(body), signal })).json();
  }

  /**
   * @param {File} file
   * @param {{source: string, target: string}} languages
   * @param {string} id by which its progress can be asked for
   * @param {AbortSignal} signal
   * @returns {Promise<string>} where the translated file is
   */
  async translateFile(file, { source, target }, id, signal) {
    const body = new FormData();
    for (const [name, value] of Object.entries({ source, target })) body.set(name, value);
    body.set("file", file);
    const reply = await this.#ask("translate_file", { method: "POST", headers: { "X-Request-ID": id }, body, signal });
    return (await reply.json()).translatedFileUrl;
  }

  /**
   * @param {string} id
   * @param {AbortSignal} signal
   * @returns {Promise<Progress | null>} null: it has not begun, or nobody knows
   */
  async fileProgress(id, signal) {
    const reply = await this.#ask(`translate_file/${id}`, { signal }).catch(() => null);
    return reply ? reply.json() : null;
  }

  /**
   * Translates, and `onText` is told what is there so far.
   * @param {object} body
   * @param {AbortSignal} signal
   * @param {(text: string) => void} onText
   * @returns {Promise<Reply>}
   */
  async stream(body, signal, onText) {
    const headers = { "Content-Type": "application/json" };
    const asked = { method: "POST", headers, body: JSON.stringify({ ...body, partial: true }), signal };
    const reply = await this.#ask("translate/stream", asked);
    let done = "";
    for await (const { name, data } of events(reply)) {
      if (name === "end") return data;
      if (name === "error") throw new ApiError("broken", String(data.error));
      if (name === "sentence") done += data.text;
      onText(name === "partial" ? done + data.text : done);
    }
    throw new ApiError("offline", "the stream ended too early");
  }

  /**
   * @param {string} path
   * @param {RequestInit} [how]
   */
  async #ask(path, how = {}) {
    const key = keptKey();
    const headers = { ...how.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    const reply = await fetch(new URL(path, this.base), { cache: "no-store", ...how, headers }).catch((error) => {
      if (how.signal?.aborted) throw error;
      throw new ApiError("offline", String(error));
    });
    if (reply.ok) return reply;
    const message = await reply.json().then(
      (body) => String(body.error),
      () => `${reply.status} ${reply.statusText}`,
    );
    throw new ApiError(problemOf(reply.status, message), message, retryAfter(reply.headers.get("Retry-After")));
  }
}

/**
 * Server-sent events of a reply, whose data is JSON.
 * @param {Response} reply
 * @returns {AsyncGenerator<{name: string, data: any}>}
 */
export async function* events(reply) {
  if (!reply.body) return;
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let unread = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (unread + value).split("\n\n");
    unread = blocks.pop() ?? "";
    for (const block of blocks) {
      const found = /^event: (.*)\ndata: (.*)$/.exec(block);
      if (found) yield { name: found[1] ?? "", data: JSON.parse(found[2] ?? "null") };
    }
  }
}

/** @param {unknown} error */
export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}
