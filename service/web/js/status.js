/** The page at `/status`: what the service does now, from `/metrics`, for those who have no Grafana. */

/** @import {Sample} from "./prometheus.js" */
/** @import {Key} from "./strings.js" */
import { Service } from "./api.js";
import { find, make } from "./dom.js";
import { number, t } from "./i18n.js";
import { colour, plotting } from "./plotting.js";
import { startPreferences } from "./preferences.js";
import { buckets, parse, quantile, total } from "./prometheus.js";

const EVERY_MS = 2000;
/** Looks that are kept: five minutes. */
const KEPT = 150;
/** So that nearly nothing does not look like much. */
const LEAST_SCALE = 4;
const WORK = { endpoint: ["translate", "score"] };

/**
 * @typedef {{at: Date, samples: Sample[], seconds: number}} LookAt seconds since the page was opened
 * @typedef {"requests" | "tokens" | "latency" | "queue" | "rows" | "refusals"} Name
 * @typedef {{at: Date, value: number | null, upper?: number | null}} Point
 * @typedef {{root: HTMLElement, figure: HTMLElement, chart: HTMLElement, detail: HTMLElement}} Tile
 */

const service = new Service(document.baseURI);
const state = find("state", HTMLElement);
const model = find("model", HTMLElement);
/** @type {LookAt[]} */
const looks = [];
/** @type {Record<Name, Point[]>} */
const points = { requests: [], tokens: [], latency: [], queue: [], rows: [], refusals: [] };
const names = /** @type {Name[]} */ (Object.keys(points));
const tiles = /** @type {Record<Name, Tile>} */ (Object.fromEntries(names.map((name) => [name, tile()])));
find("tiles", HTMLElement).append(...names.map((name) => tiles[name].root));

startPreferences(() => void draw());
void poll();

async function poll() {
  if (!document.hidden) {
    try {
      record(parse(await service.metrics()));
    } catch {
      say("offline");
    }
    await draw();
  }
  setTimeout(poll, EVERY_MS);
}

/** @param {Sample[]} samples */
function record(samples) {
  const now = { at: new Date(), samples, seconds: performance.now() / 1000 };
  const before = looks.at(-1);
  looks.push(now);
  // The first one stays: refusals are counted from there.
  if (looks.length > KEPT + 1) looks.splice(1, 1);
  say(total(samples, "attend_ready") ? "ready" : "not_ready");
  const models = samples.filter(({ name, value }) => name === "attend_model_info" && value);
  model.textContent = models.map(({ labels }) => t("status.model", labels)).join(" · ");
  if (before) for (const name of names) points[name] = [...points[name], measure(name, before, now)].slice(-KEPT);
}

/**
 * @param {Name} name
 * @param {LookAt} before
 * @param {LookAt} now
 * @returns {Point}
 */
function measure(name, before, now) {
  const rate = (/** @type {string} */ metric, wanted = {}) =>
    Math.max(0, (total(now.samples, metric, wanted) - total(before.samples, metric, wanted)) / (now.seconds - before.seconds));
  const duration = "attend_request_duration_seconds";
  const seconds = (/** @type {number} */ q) => {
    const value = quantile(buckets(before.samples, duration, WORK), buckets(now.samples, duration, WORK), q);
    return value === null ? null : 1000 * value;
  };
  const { at, samples } = now;
  switch (name) {
    case "requests":
      return { at, value: rate("attend_requests_total", WORK) };
    case "tokens":
      return { at, value: rate("attend_target_tokens_total") };
    case "latency":
      return { at, value: seconds(0.5), upper: seconds(0.95) };
    case "queue":
      return { at, value: total(samples, "attend_queue_tokens") };
    case "rows":
      return { at, value: total(samples, "attend_running_rows") };
    case "refusals":
      return { at, value: Math.max(0, total(samples, "attend_rejected_total") - total(looks[0].samples, "attend_rejected_total")) };
  }
}

/** @param {"ready" | "not_ready" | "offline"} how */
function say(how) {
  const text = t(`status.${how}`);
  state.className = `state ${how}`;
  // Only when it changes: a screen reader reads it aloud.
  if (state.textContent !== text) state.textContent = text;
}

async function draw() {
  document.title = t("page.status");
  const { Plot } = await plotting();
  for (const name of names) show(name, Plot);
}

/**
 * @param {Name} name
 * @param {any} Plot
 */
function show(name, Plot) {
  const { figure, chart, detail } = tiles[name];
  const series = points[name];
  const now = series.at(-1);
  const values = series.flatMap(({ value, upper }) => [value, upper]).filter((value) => typeof value === "number");
  tiles[name].root.querySelector("h2")?.replaceChildren(t(`status.${name}`));
  figure.textContent = now ? [now.value, now.upper].filter((value) => value !== undefined).map(shown).join(" / ") : "–";
  detail.textContent = now ? described(name) : t("status.waiting");
  if (series.length < 2) return;
  const most = Math.max(...values, 0);
  const picture = charted(name, series, Math.max(most, LEAST_SCALE), Plot);
  picture.setAttribute("aria-hidden", "true");
  chart.setAttribute("role", "img");
  chart.setAttribute(
    "aria-label",
    t("status.chart", { title: t(`status.${name}`), now: figure.textContent, most: shown(most) }),
  );
  chart.replaceChildren(picture);
}

/** @param {Name} name */
function described(name) {
  const unit = t(`status.${name}.unit`);
  if (name !== "refusals") return unit;
  const reasons = looks[looks.length - 1].samples
    .filter((sample) => sample.name === "attend_rejected_total")
    .map(({ labels, value }) => ({
      reason: labels.reason,
      count: value - total(looks[0].samples, "attend_rejected_total", { reason: [labels.reason] }),
    }))
    .filter(({ count }) => count > 0)
    .map(({ reason, count }) => `${t(/** @type {Key} */ (`reason.${reason}`))} ${number(count)}`);
  return reasons.length > 0 ? `${unit}: ${reasons.join(", ")}` : unit;
}

/**
 * @param {Name} name
 * @param {Point[]} series
 * @param {number} most
 * @param {any} Plot
 * @returns {SVGElement}
 */
function charted(name, series, most, Plot) {
  const end = series[series.length - 1].at.getTime();
  // A band of time that fills up: what is not known yet is empty, not stretched.
  const start = Math.min(series[0].at.getTime(), end - 60_000);
  const width = Math.max(tiles[name].chart.clientWidth, 200);
  const line = { x: "at", y: "value", curve: "monotone-x", stroke: colour("--accent"), strokeWidth: 1.8 };
  return Plot.plot({
    className: "plot",
    width,
    height: 132,
    marginLeft: 38,
    marginRight: 8,
    marginTop: 8,
    marginBottom: 34,
    style: { background: "transparent", color: colour("--muted"), fontSize: "11px" },
    x: { type: "time", domain: [new Date(start), new Date(end)], label: null, ticks: width < 300 ? 3 : 4 },
    y: { domain: [0, most], nice: true, label: null, ticks: 3, tickSize: 0 },
    marks: [
      Plot.gridY({ ticks: 3, stroke: colour("--line"), strokeOpacity: 1 }),
      Plot.areaY(series, { ...line, stroke: null, fill: colour("--accent"), fillOpacity: 0.12 }),
      Plot.lineY(series, line),
      name === "latency" ? Plot.lineY(series, { ...line, y: "upper", strokeDasharray: "3,3" }) : null,
    ],
  });
}

/** @param {number | null | undefined} value */
function shown(value) {
  return typeof value === "number" ? number(value, value < 10 ? 1 : 0) : "–";
}

/** @returns {Tile} */
function tile() {
  const figure = make("p", { class: "value" }, "–");
  const chart = make("div", { class: "chart" });
  const detail = make("p", { class: "hint" });
  return { figure, chart, detail, root: make("section", { class: "tile" }, make("h2", {}), figure, detail, chart) };
}
