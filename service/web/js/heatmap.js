/** One attention map as a picture with axes, and small ones of all heads to choose from. */

/** @import {Choice} from "./types.js" */
/** @import {AttentionMap, Stack} from "./maps.js" */
import { make, rove } from "./dom.js";
import { number, t } from "./i18n.js";
import { range, select } from "./maps.js";
import { colour, plotting } from "./plotting.js";

const SVG = "http://www.w3.org/2000/svg";
const SMALLEST = 6;
const LARGEST = 72;
const SCROLLBAR = 16;
const FITTING = { least: 14, most: 46 };
/** From here on a cell has room for its number. */
const NUMBERED = 36;
/** Of so many layers the small maps have room to stand in two lines. */
const FEW_LAYERS = 3;
/** Pixels of a label's character, and the most of it that is shown. */
const CHARACTER = 7.5;
const LABEL = 14;

export class HeatMap {
  /** @type {AttentionMap | null} */
  #map = null;
  /** @type {number | null} pixels of a cell; null: as large as fits */
  #cell = null;
  /** @type {SVGSVGElement | null} */
  #picture = null;
  #cursor = document.createElementNS(SVG, "rect");
  #place = { row: 0, column: 0 };
  /** @type {any} */
  #scales = null;
  #drawing = 0;

  /**
   * @param {HTMLElement} root scrolls, and takes the keys
   * @param {HTMLElement} reading where the cell pointed at is said
   * @param {HTMLElement} most where the largest weight is said
   */
  constructor(root, reading, most) {
    this.root = root;
    this.reading = reading;
    this.most = most;
    this.#cursor.setAttribute("class", "cursor");
    root.addEventListener("pointermove", (event) => this.#point(event));
    root.addEventListener("pointerdown", (event) => this.#point(event));
    root.addEventListener("keydown", (event) => this.#move(event));
    root.addEventListener("focus", () => this.#read());
    let width = 0;
    new ResizeObserver(() => {
      if (root.offsetWidth === width) return;
      width = root.offsetWidth;
      if (this.#cell === null) void this.draw();
    }).observe(root);
  }

  /** The picture without the cursor, as it goes into a file. */
  get picture() {
    const copy = /** @type {SVGSVGElement | undefined} */ (this.#picture?.cloneNode(true));
    copy?.querySelector(".cursor")?.remove();
    copy?.removeAttribute("aria-hidden");
    return copy;
  }

  /** @param {AttentionMap | null} map */
  async show(map) {
    this.#map = map;
    this.#place = { row: 0, column: 0 };
    await this.draw();
  }

  /** @param {number | null} factor of the size of a cell; null: as large as fits */
  async zoom(factor) {
    if (!this.#map) return;
    const size = (this.#cell ?? this.#fitting()) * (factor ?? 1);
    this.#cell = factor === null ? null : Math.min(Math.max(Math.round(size), SMALLEST), LARGEST);
    await this.draw();
  }

  /** Again, after size or colours have changed. */
  async draw() {
    const drawing = ++this.#drawing;
    const { Plot, d3 } = await plotting();
    // Another one began while the library was loading.
    if (drawing !== this.#drawing) return;
    this.#picture = this.#map && this.#plotted(this.#map, Plot, d3);
    this.root.replaceChildren(...(this.#picture ? [this.#picture] : []));
    this.#picture?.append(this.#cursor);
    this.#cursor.setAttribute("visibility", "hidden");
    this.reading.textContent = this.#map ? t("cell.hint") : "";
  }

  /**
   * @param {AttentionMap} map
   * @param {any} Plot
   * @param {any} d3
   * @returns {SVGSVGElement}
   */
  #plotted(map, Plot, d3) {
    const size = this.#cell ?? this.#fitting();
    const [left, top, right] = margins(map);
    const most = largest(map.values);
    this.most.textContent = number(most, 2);
    const cells = Array.from(map.values, (weight, place) => ({
      row: Math.floor(place / map.columns.length),
      column: place % map.columns.length,
      weight,
    }));
    const ramp = d3.piecewise(d3.interpolateLab, ["--heat-0", "--heat-1", "--heat-2", "--heat-3"].map(colour));
    const light = colour("--heat-label-light");
    const dark = colour("--heat-label-dark");
    const chart = Plot.plot({
      className: "plot",
      width: left + size * map.columns.length + right,
      height: top + size * map.rows.length + 1,
      marginLeft: left,
      marginTop: top,
      marginRight: right,
      marginBottom: 1,
      style: { background: colour("--surface"), color: colour("--ink"), fontSize: `${Math.min(13, Math.max(7, size - 2))}px` },
      x: { type: "band", domain: range(map.columns.length), padding: 0, label: null },
      y: { type: "band", domain: range(map.rows.length), padding: 0, label: null },
      color: { type: "linear", domain: [0, most], interpolate: ramp },
      marks: [
        Plot.axisX({ anchor: "top", tickRotate: -55, tickSize: 0, tickPadding: 4, tickFormat: (/** @type {number} */ i) => shortened(map.columns[i]) }),
        Plot.axisY({ tickSize: 0, tickPadding: 6, tickFormat: (/** @type {number} */ i) => shortened(map.rows[i]) }),
        Plot.cell(cells, { x: "column", y: "row", fill: "weight", inset: size > 12 ? 0.75 : 0, rx: size > 20 ? 2 : 0 }),
        size < NUMBERED
          ? null
          : Plot.text(cells, {
              x: "column",
              y: "row",
              filter: (/** @type {{weight: number}} */ cell) => cell.weight >= 0.005,
              text: (/** @type {{weight: number}} */ cell) => cell.weight.toFixed(2).replace(/^0/, ""),
              fill: (/** @type {{weight: number}} */ cell) => (cell.weight > 0.5 * most ? dark : light),
              fontSize: 10.5,
            }),
      ],
    });
    // What is to be known of it is said by the element around it, cell by cell.
    chart.setAttribute("aria-hidden", "true");
    this.#scales = { x: chart.scale("x"), y: chart.scale("y") };
    return chart;
  }

  #fitting() {
    if (!this.#map) return FITTING.most;
    const [left, , right] = margins(this.#map);
    const room = this.root.offsetWidth - left - right - SCROLLBAR;
    return Math.min(Math.max(Math.floor(room / this.#map.columns.length), FITTING.least), FITTING.most);
  }

  /** @param {PointerEvent} event */
  #point(event) {
    if (!this.#picture || !this.#map) return;
    const box = this.#picture.getBoundingClientRect();
    const { x, y } = this.#scales;
    const column = Math.floor((event.clientX - box.left - x.range[0]) / x.step);
    const row = Math.floor((event.clientY - box.top - y.range[0]) / y.step);
    if (column < 0 || row < 0 || column >= this.#map.columns.length || row >= this.#map.rows.length) return;
    this.#place = { row, column };
    this.#read();
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    if (!this.#map) return;
    /** @type {Record<string, [number, number]>} */
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const within = (/** @type {number} */ value, /** @type {number} */ count) => Math.min(Math.max(value, 0), count - 1);
    this.#place = {
      row: within(this.#place.row + step[0], this.#map.rows.length),
      column: within(this.#place.column + step[1], this.#map.columns.length),
    };
    this.#read();
    this.#cursor.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  #read() {
    if (!this.#map || !this.#picture) return;
    const { row, column } = this.#place;
    const { x, y } = this.#scales;
    const box = { x: x.apply(column), y: y.apply(row), width: x.step, height: y.step };
    for (const [name, value] of Object.entries(box)) this.#cursor.setAttribute(name, String(value));
    this.#cursor.setAttribute("visibility", "visible");
    const weight = this.#map.values[row * this.#map.columns.length + column];
    const where = t("cell", { row: shortened(this.#map.rows[row]), column: shortened(this.#map.columns[column]) });
    this.reading.replaceChildren(`${where}: `, make("b", {}, number(weight, 3, 3)));
  }
}

/** A small map of each head; one is chosen by pressing it. */
export class HeadGrid {
  #columns = 1;

  /**
   * @param {HTMLElement} root
   * @param {(layer: number, head: number) => void} onChoose
   */
  constructor(root, onChoose) {
    this.root = root;
    rove(root, "button", () => this.#columns);
    root.addEventListener("click", (event) => {
      const button = event.target instanceof Element ? event.target.closest("button") : null;
      if (button) onChoose(Number(button.dataset.layer), Number(button.dataset.head));
    });
  }

  /** @param {Stack | null} stack */
  show(stack) {
    this.root.replaceChildren();
    if (!stack) return;
    this.#columns = stack.layers > FEW_LAYERS ? stack.heads : Math.ceil(stack.heads / 2);
    this.root.style.setProperty("--columns", String(this.#columns));
    const ramp = [colour("--heat-0"), colour("--heat-1"), colour("--heat-2"), colour("--heat-3")].map(channels);
    for (const layer of range(stack.layers)) {
      this.root.append(make("span", { class: "label" }, t("heads.row", { layer })));
      for (const head of range(stack.heads)) {
        const label = t("heads.one", { layer, head });
        const button = make("button", { type: "button", "aria-label": label, title: label, tabindex: layer + head ? -1 : 0 });
        button.dataset.layer = String(layer);
        button.dataset.head = String(head);
        button.append(thumbnail(select(stack, layer, head), stack.columns, ramp), make("span", { "aria-hidden": "true" }, String(head)));
        this.root.append(button);
      }
    }
  }

  /**
   * @param {Choice} layer
   * @param {Choice} head
   */
  mark(layer, head) {
    for (const button of this.root.querySelectorAll("button")) {
      const chosen =
        (layer === "mean" || Number(button.dataset.layer) === layer) && (head === "mean" || Number(button.dataset.head) === head);
      const alone = layer !== "mean" && head !== "mean";
      button.setAttribute("aria-pressed", String(chosen && alone));
      button.classList.toggle("part", chosen && !alone);
    }
  }
}

/**
 * A pixel for each cell, drawn large by the style sheet.
 * @param {Float32Array} values
 * @param {number} columns
 * @param {number[][]} ramp
 */
export function thumbnail(values, columns, ramp) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = values.length / columns;
  const context = canvas.getContext("2d");
  if (!context) return canvas;
  const image = context.createImageData(canvas.width, canvas.height);
  const most = largest(values);
  values.forEach((weight, place) => {
    const position = (weight / most) * (ramp.length - 1);
    const step = Math.min(Math.floor(position), ramp.length - 2);
    const mixed = ramp[step].map((low, channel) => low + (position - step) * (ramp[step + 1][channel] - low));
    image.data.set([...mixed, 255], 4 * place);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

/** @param {Float32Array} weights */
function largest(weights) {
  return weights.reduce((most, weight) => Math.max(most, weight), 1e-6);
}

/** @param {string} rgb as `getComputedStyle` writes it */
export function channels(rgb) {
  return (rgb.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
}

/**
 * Room for the labels: left, above, and right of the last one above, which leans.
 * @param {AttentionMap} map
 */
function margins(map) {
  const longest = (/** @type {string[]} */ labels) => Math.max(...labels.map((label) => width(shortened(label))));
  return [12 + CHARACTER * longest(map.rows), 14 + 0.85 * CHARACTER * longest(map.columns), 2 + 0.5 * CHARACTER * longest(map.columns.slice(-1))];
}

/** @param {string} label a token; `▁`, a space, is a wide bar in most fonts */
function shortened(label) {
  const points = Array.from(label.replaceAll("▁", "·"));
  return points.length > LABEL ? `${points.slice(0, LABEL - 1).join("")}…` : points.join("");
}

/**
 * In Latin characters; those of East Asia are twice as wide.
 * @param {string} label
 */
function width(label) {
  return Array.from(label).reduce((sum, point) => sum + ((point.codePointAt(0) ?? 0) >= 0x2e80 ? 1.9 : 1), 0);
}
