import assert from "node:assert/strict";
import { test } from "node:test";
import { beginning, codePoints, length, slice } from "../../../service/web/js/text.js";

test("spans count code points, not UTF-16 units", () => {
  assert.equal(length("𠮷野家🎉"), 4);
  assert.equal(slice("𠮷野家🎉!", [1, 4]), "野家🎉");
  assert.deepEqual(codePoints("a🚀"), ["a", "🚀"]);
});

test("the beginning of a text is whole lines, where one fits", () => {
  assert.equal(beginning("short", 10), "short");
  assert.equal(beginning("one\ntwo\nthree", 9), "one\ntwo");
  assert.equal(beginning("🎉🎉🎉🎉", 3), "🎉🎉🎉");
});
