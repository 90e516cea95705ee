/** Text and view as the fragment of an address, and back. */

/** @import {Choice, Kind, State} from "./types.js" */

/** @type {Kind[]} */
export const KINDS = ["cross", "encoder", "decoder"];
/** Code points of a text that still go into a link. */
export const LINKED_TEXT = 5000;

/** @type {Omit<State, "source" | "target">} */
export const DEFAULTS = {
  text: "",
  alternatives: 2,
  open: true,
  sentence: 0,
  version: 0,
  kind: "cross",
  layer: null,
  head: "mean",
};

/**
 * What differs from the defaults; a text longer than a link should be is left out.
 * @param {State} state
 */
export function toFragment(state) {
  const fields = new URLSearchParams({ source: state.source, target: state.target });
  if (Array.from(state.text).length <= LINKED_TEXT) fields.set("text", state.text.toWellFormed());
  for (const name of /** @type {const} */ (["alternatives", "sentence", "version", "kind", "layer", "head"])) {
    const value = state[name];
    if (value !== null && value !== DEFAULTS[name]) fields.set(name, String(value));
  }
  if (!state.open) fields.set("look", "closed");
  return `#${fields}`;
}

/**
 * What a fragment says, as far as it makes sense; the rest is absent.
 * @param {string} fragment
 * @returns {Partial<State>}
 */
export function fromFragment(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  if (fields.size === 0) return {};
  /** @type {Partial<State>} */
  const state = { open: fields.get("look") !== "closed" };
  for (const name of /** @type {const} */ (["source", "target", "text"])) {
    const value = fields.get(name);
    if (value !== null) state[name] = value;
  }
  for (const name of /** @type {const} */ (["alternatives", "sentence", "version"])) {
    const value = natural(fields.get(name));
    if (value !== null) state[name] = value;
  }
  const kind = KINDS.find((each) => each === fields.get("kind"));
  if (kind) state.kind = kind;
  for (const name of /** @type {const} */ (["layer", "head"])) {
    const value = choice(fields.get(name));
    if (value !== null) state[name] = value;
  }
  return state;
}

/**
 * @param {string | null} value
 * @returns {Choice | null}
 */
function choice(value) {
  return value === "mean" ? "mean" : natural(value);
}

/** @param {string | null} value */
function natural(value) {
  return value !== null && /^\d{1,6}$/.test(value) ? Number(value) : null;
}
