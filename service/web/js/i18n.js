/** The language of the interface: which it is, and every text of the page in it. */

import { STRINGS } from "./strings.js";
/** @import {InterfaceLanguage, Key as CommonKey} from "./strings.js" */
/** @import {LearnKey} from "./learn_strings.js" */

/** @typedef {CommonKey | LearnKey} Key */

/** @type {Record<InterfaceLanguage, Record<string, string>>} */
const texts = { en: { ...STRINGS.en }, zh: { ...STRINGS.zh } };

/** @type {Record<string, string>} */
const TAGS = { pb: "pt-BR", zt: "zh-Hant" };

/** @type {InterfaceLanguage} */
let language = "en";

/**
 * Sentences that one page has beside those of all.
 * @param {Record<InterfaceLanguage, Record<string, string>>} more
 */
export function addStrings(more) {
  Object.assign(texts.en, more.en);
  Object.assign(texts.zh, more.zh);
}

/** @param {InterfaceLanguage} wanted */
export function setLanguage(wanted) {
  language = wanted;
  document.documentElement.lang = wanted;
  for (const element of document.querySelectorAll("[data-i18n]")) element.textContent = t(key(element, "data-i18n"));
  const attributes = { "data-i18n-label": "aria-label", "data-i18n-placeholder": "placeholder", "data-i18n-title": "title" };
  for (const [marked, attribute] of Object.entries(attributes)) {
    for (const element of document.querySelectorAll(`[${marked}]`)) {
      element.setAttribute(attribute, t(key(element, marked)));
    }
  }
}

export function getLanguage() {
  return language;
}

/**
 * @param {Key} name
 * @param {Record<string, string | number>} [values]
 */
export function t(name, values = {}) {
  return texts[language][name].replace(/\{(\w+)\}/g, (_, value) => String(values[value]));
}

/**
 * @param {number} value
 * @param {number} [digits] after the point, at most
 * @param {number} [least] digits after the point, at least
 */
export function number(value, digits = 0, least = 0) {
  return new Intl.NumberFormat(language, { minimumFractionDigits: least, maximumFractionDigits: digits }).format(value);
}

/**
 * The service's code of a language as browsers know it.
 * @param {string} code
 */
export function languageTag(code) {
  return TAGS[code] ?? code;
}

/**
 * What a language is called; `fallback` where the browser does not know it.
 * @param {string} code
 * @param {string} fallback
 */
export function languageName(code, fallback) {
  try {
    const tag = languageTag(code);
    const name = new Intl.DisplayNames(language, { type: "language" }).of(tag);
    return name && name !== tag ? name : fallback;
  } catch {
    return fallback;
  }
}

/**
 * @param {Element} element
 * @param {string} attribute
 */
function key(element, attribute) {
  return /** @type {Key} */ (element.getAttribute(attribute));
}
