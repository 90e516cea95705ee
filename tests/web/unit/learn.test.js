import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { beginning, kept, largestDifference, sinusoids, softmax, turns, wayTo } from "../../../service/web/js/learn_numbers.js";
import { LEARN } from "../../../service/web/js/learn_strings.js";
import { STRINGS } from "../../../service/web/js/strings.js";

const near = (found, wanted) => found.forEach((value, place) => assert.ok(Math.abs(value - wanted[place]) < 1e-6, `${found}`));

test("softmax: the worked numbers of attention over two states, plain and divided by the root of their width", () => {
  near(softmax([1.5, 3.5]), [0.119203, 0.880797]);
  near(softmax([1.5 / Math.SQRT2, 3.5 / Math.SQRT2]), [0.19557, 0.80443]);
  near(softmax([1000, 1000]), [0.5, 0.5]);
});

test("sinusoids: sines at even dimensions, cosines at odd ones, and k places further is a rotation", () => {
  const [width, k] = [8, 5];
  const rows = sinusoids(20, width);
  near(rows[0], [0, 1, 0, 1, 0, 1, 0, 1]);
  near(rows[3].slice(0, 2), [Math.sin(3), Math.cos(3)]);
  for (let pair = 0; pair < width; pair += 2) {
    const angle = k / turns(pair, width);
    for (let p = 0; p + k < rows.length; p += 1) {
      const [sine, cosine] = rows[p].slice(pair, pair + 2);
      const turned = [sine * Math.cos(angle) + cosine * Math.sin(angle), cosine * Math.cos(angle) - sine * Math.sin(angle)];
      near(rows[p + k].slice(pair, pair + 2), turned);
    }
  }
  assert.equal(largestDifference([[1, 2]], [[1, 2.5], [0, 0]]), 0.5);
});

const candidate = (beam, token, log_prob, fate) => ({ beam, token, token_log_prob: -0.1, log_prob, fate });
const STEPS = [
  [candidate(0, "▁I", -0.1, "kept"), candidate(0, "▁It", -2, "kept"), candidate(0, "</s>", -3, "dropped")],
  [candidate(1, "▁is", -2.1, "kept"), candidate(0, "</s>", -2.2, "ended"), candidate(0, "▁am", -2.3, "kept")],
  [candidate(0, "</s>", -2.4, "ended"), candidate(1, "</s>", -2.5, "ended")],
];

test("the way to a hypothesis goes back from its end, by the numbers of what was kept", () => {
  const way = (log_prob) => wayTo(STEPS, { log_prob, finish_reason: "eos" }).map(({ token }) => token);
  assert.deepEqual(way(-2.4), ["▁It", "▁is", "</s>"]);
  assert.deepEqual(way(-2.5), ["▁I", "▁am", "</s>"]);
  assert.deepEqual(way(-2.2), ["▁I", "</s>"]);
  assert.deepEqual(way(-9), []);
  assert.equal(beginning(STEPS, 2, STEPS[2][0]), "It is");
  assert.equal(kept(STEPS[0]).length, 2);
});

test("the page says the same in both languages, and in English what stands in it", () => {
  const values = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();
  assert.deepEqual(Object.keys(LEARN.zh), Object.keys(LEARN.en));
  for (const [key, text] of Object.entries(LEARN.en)) assert.deepEqual(values(LEARN.zh[key]), values(text), key);
  const all = { ...STRINGS.en, ...LEARN.en };
  const html = readFileSync(new URL("../../../service/web/learn.html", import.meta.url), "utf-8");
  for (const [, key] of html.matchAll(/data-i18n(?:-\w+)?="([^"]+)"/g)) assert.ok(key in all, key);
  for (const [, key, text] of html.matchAll(/data-i18n="([^"]+)"[^>]*>([^<]+)</g)) assert.equal(text, all[key]);
});
