import assert from "node:assert/strict";
import { test } from "node:test";
import { differences, probabilities, wordsOf } from "../../../service/web/js/words.js";

test("a word is as probable as all its pieces together", () => {
  const words = [[0, 4], [5, 6]];
  const tokens = [[0, 2], [2, 4], [5, 6], [6, 6]];
  const found = probabilities(words, tokens, [Math.log(0.5), Math.log(0.4), Math.log(0.9), Math.log(0.1)]);
  [0.2, 0.9].forEach((wanted, index) => assert.ok(Math.abs(found[index] - wanted) < 1e-12));
});

test("a piece that lies in two words counts for the one it has most of", () => {
  const [first, second] = probabilities([[0, 1], [1, 4]], [[0, 4]], [Math.log(0.25)]);
  assert.equal(first, 1);
  assert.ok(Math.abs(second - 0.25) < 1e-12);
});

test("links lead both ways, by code points", () => {
  const segment = {
    source_words: [[0, 1], [1, 3]],
    target_words: [[0, 2], [3, 4]],
    target_token_spans: [[0, 2], [3, 4]],
    token_log_probs: [0, 0],
    alignment: [{ source: [1, 3], target: [3, 4], weight: 0.7 }],
  };
  const { sources, targets } = wordsOf(segment, "🎉𠮷野", "Hi 🎉");
  assert.deepEqual(sources.map(({ text }) => text), ["🎉", "𠮷野"]);
  assert.deepEqual(targets.map(({ text }) => text), ["Hi", "🎉"]);
  assert.deepEqual(sources[1].links, [{ word: 1, weight: 0.7 }]);
  assert.deepEqual(targets[1].links, [{ word: 1, weight: 0.7 }]);
  assert.deepEqual([sources[0].links, targets[0].links, sources[0].probability], [[], [], null]);
});

test("what differs is what is not in the longest common sequence", () => {
  const marked = (best, other) =>
    differences(best.split(" "), other.split(" ")).map((differs, index) => (differs ? other.split(" ")[index] : "")).join("");
  assert.equal(marked("he did not come", "he did not come"), "");
  assert.equal(marked("he did not come", "he has not come here"), "hashere");
  assert.deepEqual(differences([], ["a"]), [true]);
  assert.deepEqual(differences(["a"], []), []);
});
