/** The two buttons every page has: language of the interface, and light or dark. Kept in the browser, nothing else is. */

import { find } from "./dom.js";
import { getLanguage, setLanguage, t } from "./i18n.js";
import { STRINGS } from "./strings.js";
/** @import {InterfaceLanguage} from "./strings.js" */

const THEMES = /** @type {const} */ (["auto", "light", "dark"]);

/** @param {() => void} onChange after language or colours have changed */
export function startPreferences(onChange) {
  const languageToggle = find("language-toggle", HTMLButtonElement);
  const themeToggle = find("theme-toggle", HTMLButtonElement);

  const show = () => {
    languageToggle.textContent = t("language.other");
    languageToggle.lang = other();
    const label = t(`theme.${theme()}`);
    themeToggle.setAttribute("aria-label", label);
    themeToggle.title = label;
  };

  languageToggle.addEventListener("click", () => {
    remember("language", other());
    setLanguage(other());
    show();
    onChange();
  });
  themeToggle.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
    remember("theme", next);
    document.documentElement.dataset.theme = next;
    show();
    onChange();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onChange);

  setLanguage(preferredLanguage());
  show();
}

/** @returns {InterfaceLanguage} */
function preferredLanguage() {
  const kept = recall("language");
  if (kept !== null && kept in STRINGS) return /** @type {InterfaceLanguage} */ (kept);
  const first = navigator.languages.map((each) => each.slice(0, 2)).find((each) => each in STRINGS);
  return /** @type {InterfaceLanguage} */ (first ?? "en");
}

/** @returns {InterfaceLanguage} */
function other() {
  return getLanguage() === "en" ? "zh" : "en";
}

function theme() {
  return THEMES.find((each) => each === document.documentElement.dataset.theme) ?? "auto";
}

/**
 * @param {string} name
 * @param {string} value
 */
function remember(name, value) {
  try {
    localStorage.setItem(`attend.${name}`, value);
  } catch {
    // Then it holds until the page is left.
  }
}

/** @param {string} name */
function recall(name) {
  try {
    return localStorage.getItem(`attend.${name}`);
  } catch {
    return null;
  }
}
