/** The page at `/`: puts its parts together, and keeps what they show in the address. */

/** @import {State} from "./types.js" */
import { Service } from "./api.js";
import { find } from "./dom.js";
import { Files } from "./files.js";
import { getLanguage, t } from "./i18n.js";
import { LookView } from "./look.js";
import { startPreferences } from "./preferences.js";
import { DEFAULTS, fromFragment, LINKED_TEXT, toFragment } from "./state.js";
import { EXAMPLES } from "./strings.js";
import { length } from "./text.js";
import { Desk } from "./translate.js";

/** Time between two looks at which languages there are: models come and go while the service runs. */
const EVERY_MS = 15_000;

const service = new Service(document.baseURI.replace(/#.*/, ""));

/** @type {State} */
let state = { ...DEFAULTS, source: "", target: "", ...fromFragment(location.hash) };

/** @param {Partial<State>} change */
function update(change) {
  state = { ...state, ...change };
  history.replaceState(null, "", toFragment(state));
}

startPreferences(() => {
  document.title = t("page.translate");
  desk.relabel();
  look.relabel();
  files.relabel();
});
document.title = t("page.translate");
const look = new LookView(service, state, update);
const desk = new Desk(service, update, (question) => look.show(question));
const files = new Files(service, () => desk.question);

const link = find("link", HTMLButtonElement);
link.addEventListener("click", () => {
  void desk.copy(link, location.href, length(state.text) > LINKED_TEXT ? t("link.without") : t("copied"));
});
addEventListener("hashchange", () => {
  state = { ...state, ...DEFAULTS, ...fromFragment(location.hash) };
  look.restore(state);
  desk.ask(state);
});

async function start() {
  try {
    const [languages, limits] = await Promise.all([service.languages(), service.limits()]);
    desk.open(languages, limits);
    files.open(limits);
    setTimeout(() => void follow(languages, limits), EVERY_MS);
    // Where no link says what to translate: from the reader's language if that goes, and an example.
    const first = languages.find(({ code }) => code === getLanguage() && code !== "en") ?? languages[0];
    const source = state.source || (first?.code ?? "");
    const target = state.target || (languages.find(({ code }) => code === source)?.targets[0] ?? "");
    const text = location.hash ? state.text : (EXAMPLES[source] ?? "");
    desk.ask({ source, target, text, alternatives: state.alternatives });
  } catch (error) {
    desk.explain(error, () => void start());
  }
}

/**
 * Offer what the service offers now.
 * @param {import("./types.js").Language[]} known
 * @param {import("./types.js").Limits} limits
 */
async function follow(known, limits) {
  let languages = known;
  if (!document.hidden) {
    try {
      languages = await service.languages();
    } catch {
      // It is asked again.
    }
    if (JSON.stringify(languages) !== JSON.stringify(known)) {
      desk.open(languages, limits);
      desk.relabel();
    }
  }
  setTimeout(() => void follow(languages, limits), EVERY_MS);
}

void start();
