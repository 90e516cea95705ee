import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULTS, fromFragment, LINKED_TEXT, toFragment } from "../../../service/web/js/state.js";

const STATE = { ...DEFAULTS, source: "zh", target: "en", text: "你好 & <b>#?\n🎉" };

test("a link says what is on the screen", () => {
  const views = [
    {},
    { alternatives: 0, sentence: 3, version: 2, kind: "encoder", layer: 0, head: 7 },
    { open: false, layer: "mean", head: 0 },
  ];
  for (const view of views) {
    const state = { ...STATE, ...view };
    assert.deepEqual({ ...DEFAULTS, ...fromFragment(toFragment(state)) }, state);
  }
});

test("what makes no sense in a link is left out", () => {
  const found = fromFragment("#source=fr&kind=secret&layer=-1&head=1e9&sentence=x&alternatives=2.5&version=99999999&other=1");
  assert.deepEqual(found, { source: "fr", open: true });
  assert.deepEqual(fromFragment(""), {});
  assert.deepEqual(fromFragment("#%E0%A4%A"), { open: true });
});

test("a text too long for a link is not in it", () => {
  assert.equal(fromFragment(toFragment({ ...STATE, text: "字".repeat(LINKED_TEXT) })).text.length, LINKED_TEXT);
  assert.equal(fromFragment(toFragment({ ...STATE, text: "字".repeat(LINKED_TEXT + 1) })).text, undefined);
});

test("half a surrogate pair is replaced, not an error", () => {
  assert.equal(fromFragment(toFragment({ ...STATE, text: "a\ud83c" })).text, "a\ufffd");
});
