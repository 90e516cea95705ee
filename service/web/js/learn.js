/** The page at `/learn`: what a Transformer does with the reader's own sentence, with the numbers of the model. */

/** @import {Kind, Language} from "./types.js" */
/** @import {Asked, InternalsReply, SearchReply} from "./learn_types.js" */
import { ApiError, isAbort, Service } from "./api.js";
import { fill, find, make } from "./dom.js";
import { addStrings, getLanguage, languageName, languageTag, t } from "./i18n.js";
import { results, ranking, tree } from "./learn_beam.js";
import { shownToken } from "./learn_numbers.js";
import { LEARN, SENTENCES } from "./learn_strings.js";
import { Head, Heads, Mask, showEmbedding, showSinusoids, showTokens } from "./learn_parts.js";
import { range } from "./maps.js";
import { Notice } from "./notice.js";
import { startPreferences } from "./preferences.js";

/** What the service says where it is switched off, and of a bundle without the graph. */
const OFF = "this service cannot be looked into";
const WITHOUT = "has no graph `internals`";
const MOST_BEAMS = 8;
const BEAMS = 4;

addStrings(LEARN);
const service = new Service(document.baseURI.replace(/#.*/, ""));
const form = find("learn-form", HTMLFormElement);
const pair = find("pair", HTMLSelectElement);
const sentence = find("sentence", HTMLInputElement);
const beams = find("beams", HTMLSelectElement);
const kind = find("kind", HTMLSelectElement);
const layer = find("layer", HTMLSelectElement);
const head = find("head", HTMLSelectElement);
const place = find("place", HTMLSelectElement);
const part = find("part", HTMLSelectElement);
const step = find("beam-step", HTMLInputElement);
const notice = new Notice(find("notice", HTMLElement));

const look = new Head();
const mask = new Mask();
const heads = new Heads((chosen) => {
  head.value = String(chosen);
  void lookInside();
});

/** @type {Language[]} */
let languages = [];
/** @type {SearchReply | null} */
let found = null;
/** @type {InternalsReply | null} the reply that had the embedding */
let first = null;
/** @type {InternalsReply | null} */
let shown = null;
/** @type {InternalsReply | null} of the decoder's self-attention */
let masked = null;
let asking = new AbortController();

startPreferences(relabel);
relabel();
form.addEventListener("submit", (event) => {
  event.preventDefault();
  void ask();
});
for (const select of [kind, layer, head]) {
  select.addEventListener("change", () => {
    if (select === kind) offerHeads(layerOf(null), 0);
    void lookInside();
  });
}
place.addEventListener("change", () => draw());
part.addEventListener("change", () => draw());
step.addEventListener("input", () => drawStep());
find("beam-previous", HTMLButtonElement).addEventListener("click", () => move(-1));
find("beam-next", HTMLButtonElement).addEventListener("click", () => move(1));
addEventListener("hashchange", () => {
  readAddress();
  void ask();
});
void start();

async function start() {
  try {
    languages = await service.languages();
    offerPairs();
    readAddress();
    await ask();
  } catch (error) {
    notice.explain(error, () => void start());
  }
}

/** What is asked for, out of the form. @returns {Asked} */
function asked() {
  const [source, target] = pair.value.split(" ");
  return { source, target, text: sentence.value.trim(), beams: Number(beams.value) };
}

function readAddress() {
  const fields = new URLSearchParams(location.hash.slice(1));
  const [source, target] = [fields.get("source"), fields.get("target")];
  const own = languages.find(({ code }) => code === getLanguage() && code !== "en") ?? languages[0];
  const wanted = `${source ?? own?.code ?? ""} ${target ?? own?.targets[0] ?? ""}`;
  if (Array.from(pair.options).some((option) => option.value === wanted)) pair.value = wanted;
  sentence.value = fields.get("text") ?? SENTENCES[pair.value.split(" ")[0]] ?? "";
  const width = Number(fields.get("beams"));
  beams.value = String(width >= 1 && width <= MOST_BEAMS ? Math.floor(width) : BEAMS);
}

function writeAddress() {
  const { source, target, text, beams: width } = asked();
  const fields = new URLSearchParams({ source, target, text, beams: String(width) });
  history.replaceState(null, "", `#${fields}`);
}

/** Search the sentence anew, then look inside. */
async function ask() {
  const { source, target, text, beams: width } = asked();
  sentence.lang = languageTag(source);
  if (!text) return;
  writeAddress();
  notice.say(t("learn.waiting"));
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  try {
    const reply = await service.inside("internals/search", { q: text, source, target, beam_size: width }, signal);
    found = /** @type {SearchReply} */ (reply);
    offerHeads(layerOf(Number(layer.value || NaN)), Number(head.value || 0));
    step.max = String(found.steps.length - 1);
    step.value = "0";
    drawSearch();
    await lookInside(true, signal);
  } catch (error) {
    fail(error, () => void ask());
  }
}

/**
 * The numbers of the head that is chosen, and those of the mask.
 * @param {boolean} [anew] another sentence
 * @param {AbortSignal} [signal]
 */
async function lookInside(anew = false, signal = undefined) {
  if (!found?.hypotheses[0]) return;
  if (!signal) {
    asking.abort();
    asking = new AbortController();
  }
  const until = signal ?? asking.signal;
  const { source, target, text } = asked();
  const question = { q: text, source, target, target_ids: found.hypotheses[0].target_ids };
  const where = { kind: kind.value, layer: Number(layer.value), head: Number(head.value) };
  const ofDecoder = { kind: "decoder", head: where.kind === "encoder" ? 0 : where.head };
  try {
    const replies = await Promise.all([
      service.inside("internals", { ...question, ...where, embedding: anew }, until),
      where.kind === "decoder" ? null : service.inside("internals", { ...question, ...ofDecoder }, until),
    ]);
    [shown, masked] = [replies[0], replies[1] ?? replies[0]];
    if (anew) first = shown;
    notice.clear();
    offerPlaces();
    draw();
    if (anew) drawSentence();
    if (masked) mask.show(masked, anew);
    for (const id of ["inside", "of-head"]) find(id, HTMLElement).hidden = false;
  } catch (error) {
    fail(error, () => void lookInside(anew));
  }
}

/**
 * @param {unknown} error
 * @param {() => void} again
 */
function fail(error, again) {
  if (isAbort(error)) return;
  const message = error instanceof ApiError ? error.message : "";
  if (message.startsWith(OFF)) notice.say(t("learn.off"));
  else if (message.includes(WITHOUT)) notice.say(t("learn.without"));
  else notice.explain(error, again);
}

/** Layers of the kind chosen; the last one unless another is wanted that there is. @param {number | null} wanted */
function layerOf(wanted) {
  const [layers] = found?.stacks[/** @type {Kind} */ (kind.value)] ?? [1];
  return wanted !== null && wanted >= 0 && wanted < layers ? wanted : layers - 1;
}

/**
 * @param {number} chosenLayer
 * @param {number} chosenHead
 */
function offerHeads(chosenLayer, chosenHead) {
  const [layers, count] = found?.stacks[/** @type {Kind} */ (kind.value)] ?? [1, 1];
  const numbered = (/** @type {number} */ size) => range(size).map((each) => ({ value: String(each), label: String(each) }));
  fill(layer, numbered(layers), String(chosenLayer));
  fill(head, numbered(count), String(Math.min(chosenHead, count - 1)));
}

function offerPlaces() {
  if (!shown) return;
  const before = Math.min(Number(place.value || 1), shown.rows.length - 1);
  fill(place, shown.rows.map((token, index) => ({ value: String(index), label: `${index}: ${shownToken(token)}` })), String(before));
}

function offerPairs() {
  const name = (/** @type {string} */ code) =>
    languageName(code, languages.find((each) => each.code === code)?.name ?? code);
  const chosen = pair.value;
  const pairs = languages.flatMap(({ code, targets }) => targets.filter((each) => each !== code).map((each) => [code, each]));
  fill(pair, pairs.map(([a, b]) => ({ value: `${a} ${b}`, label: `${name(a)} → ${name(b)}` })), chosen || (pairs[0]?.join(" ") ?? ""));
}

function draw() {
  if (!shown) return;
  look.show(shown, Number(place.value), /** @type {"products" | "scores" | "weights"} */ (part.value), found);
  heads.show(shown);
}

function drawSentence() {
  if (!first || !found) return;
  const best = found.hypotheses[0];
  find("found", HTMLElement).textContent = t("learn.found", { source: asked().text, target: best.text });
  showTokens(first);
  showEmbedding(first);
}

function drawSearch() {
  if (!found) return;
  find("beam-text", HTMLElement).textContent = t("learn.beam.text", { beams: found.beam_size });
  find("tree", HTMLElement).replaceChildren(tree(found));
  find("results", HTMLElement).replaceChildren(results(found));
  drawStep();
}

/** @param {number} by */
function move(by) {
  step.value = String(Number(step.value) + by);
  drawStep();
}

function drawStep() {
  if (!found) return;
  const chosen = Number(step.value);
  const said = t("learn.step.of", { number: chosen + 1, count: found.steps.length });
  step.setAttribute("aria-valuetext", said);
  find("beam-step-of", HTMLElement).textContent = said;
  find("beam-previous", HTMLButtonElement).disabled = chosen === 0;
  find("beam-next", HTMLButtonElement).disabled = chosen === found.steps.length - 1;
  find("ranking", HTMLElement).replaceChildren(ranking(found, chosen));
}

/** Everything in the language and the colours that are wanted now. */
function relabel() {
  document.title = t("page.learn");
  const kinds = /** @type {const} */ (["cross", "encoder", "decoder"]);
  fill(kind, kinds.map((each) => ({ value: each, label: t(`kind.${each}`) })), kind.value || "cross");
  const parts = /** @type {const} */ (["products", "scores", "weights"]);
  fill(part, parts.map((each) => ({ value: each, label: t(`learn.matrix.${each}`) })), part.value || "weights");
  fill(beams, range(MOST_BEAMS).map((each) => ({ value: String(each + 1), label: String(each + 1) })), beams.value || String(BEAMS));
  const errors = range(10).map((each) => make("li", {}, t(/** @type {import("./learn_strings.js").LearnKey} */ (`learn.error.${each + 1}`))));
  find("errors", HTMLElement).replaceChildren(...errors);
  offerPairs();
  showSinusoids(first);
  draw();
  drawSentence();
  drawSearch();
  if (masked) mask.show(masked, false);
}
