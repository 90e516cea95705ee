/** Attention maps: out of the reply, one layer and head or the mean of many, and what their rows and columns are. */

/** @import {Choice, Kind, Packed, Segment} from "./types.js" */

/**
 * @typedef {{layers: number, heads: number, rows: number, columns: number, values: Float32Array}} Stack
 * [layers, heads, rows, columns] in C order
 * @typedef {{rows: string[], columns: string[], values: Float32Array}} AttentionMap
 */

/**
 * @param {Packed} packed
 * @returns {Stack}
 */
export function unpack({ shape, data }) {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const values = new Float32Array(bytes.length / 2);
  for (let index = 0; index < values.length; index += 1) values[index] = half(view.getUint16(2 * index, true));
  const [layers, heads, rows, columns] = shape;
  return { layers, heads, rows, columns, values };
}

/**
 * A 16-bit float (IEEE 754 binary16) of its bits.
 * @param {number} bits
 */
export function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/**
 * The mean over the chosen layers and heads; zeros of a network that has no layer of this kind.
 * @param {Stack} stack
 * @param {Choice} layer
 * @param {Choice} head
 * @returns {Float32Array} [rows, columns]
 */
export function select(stack, layer, head) {
  const size = stack.rows * stack.columns;
  const layers = layer === "mean" ? range(stack.layers) : [layer];
  const heads = head === "mean" ? range(stack.heads) : [head];
  const mean = new Float32Array(size);
  if (stack.layers === 0) return mean;
  for (const l of layers) {
    for (const h of heads) {
      const start = (l * stack.heads + h) * size;
      for (let place = 0; place < size; place += 1) mean[place] += stack.values[start + place];
    }
  }
  return mean.map((sum) => sum / (layers.length * heads.length));
}

/**
 * What the rows and columns of a kind are called. Row t of decoder and cross attention is the one that predicts token t,
 * so what the decoder looks at begins with its start.
 * @param {Segment} segment
 * @param {Kind} kind
 * @returns {{rows: string[], columns: string[]}}
 */
export function axes({ source_tokens: source, target_tokens: target }, kind) {
  if (kind === "encoder") return { rows: source, columns: source };
  if (kind === "decoder") return { rows: target, columns: ["<s>", ...target.slice(0, -1)] };
  return { rows: target, columns: source };
}

/** @param {number} count */
export function range(count) {
  return Array.from({ length: count }, (_, index) => index);
}
