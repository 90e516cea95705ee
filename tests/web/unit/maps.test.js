import assert from "node:assert/strict";
import { test } from "node:test";
import { axes, half, select, unpack } from "../../../service/web/js/maps.js";

test("16-bit floats", () => {
  const known = [[0x0000, 0], [0x3c00, 1], [0x3800, 0.5], [0xc000, -2], [0x0001, 2 ** -24], [0x03ff, 1023 * 2 ** -24], [0x7bff, 65504], [0x7c00, Infinity]];
  for (const [bits, value] of known) assert.equal(half(bits), value);
  assert.ok(Number.isNaN(half(0x7e00)));
});

function stack() {
  // 2 layers, 2 heads, 1 row, 2 columns: 0, 1, ..., 7 in C order.
  const bytes = [0x0000, 0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600, 0x4700].flatMap((bits) => [bits & 0xff, bits >> 8]);
  return unpack({ shape: [2, 2, 1, 2], dtype: "float16", data: Buffer.from(bytes).toString("base64") });
}

test("layers and heads are found in C order, and averaged", () => {
  assert.deepEqual([...select(stack(), 0, 1)], [2, 3]);
  assert.deepEqual([...select(stack(), 1, 0)], [4, 5]);
  assert.deepEqual([...select(stack(), 1, "mean")], [5, 6]);
  assert.deepEqual([...select(stack(), "mean", 0)], [2, 3]);
  assert.deepEqual([...select(stack(), "mean", "mean")], [3, 4]);
});

test("a network without layers of a kind has a map of zeros", () => {
  const none = unpack({ shape: [0, 1, 2, 2], dtype: "float16", data: "" });
  assert.deepEqual([...select(none, -1, "mean")], [0, 0, 0, 0]);
  assert.deepEqual([...select(none, "mean", 0)], [0, 0, 0, 0]);
});

test("the decoder looks at its start and what it has written", () => {
  const segment = { source_tokens: ["<2en>", "▁Je", "</s>"], target_tokens: ["▁I", "</s>"] };
  assert.deepEqual(axes(segment, "decoder"), { rows: ["▁I", "</s>"], columns: ["<s>", "▁I"] });
  assert.deepEqual(axes(segment, "cross"), { rows: ["▁I", "</s>"], columns: ["<2en>", "▁Je", "</s>"] });
  assert.deepEqual(axes(segment, "encoder").rows, ["<2en>", "▁Je", "</s>"]);
});
