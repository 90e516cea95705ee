import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { STRINGS } from "../../../service/web/js/strings.js";

const WEB = new URL("../../../service/web/", import.meta.url);
const values = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();

test("both languages say the same things, with the same values", () => {
  assert.deepEqual(Object.keys(STRINGS.zh).sort(), Object.keys(STRINGS.en).sort());
  for (const [key, text] of Object.entries(STRINGS.en)) assert.deepEqual(values(STRINGS.zh[key]), values(text), key);
});

test("the pages are written in English, word for word", () => {
  for (const page of ["index.html", "status.html"]) {
    const html = readFileSync(new URL(page, WEB), "utf-8");
    const keys = [...html.matchAll(/data-i18n(?:-\w+)?="([^"]+)"/g)].map(([, key]) => key);
    assert.ok(keys.length > 5);
    for (const key of keys) assert.ok(key in STRINGS.en, key);
    for (const [, key, text] of html.matchAll(/data-i18n="([^"]+)"[^>]*>([^<]+)</g)) assert.equal(text, STRINGS.en[key]);
  }
});
