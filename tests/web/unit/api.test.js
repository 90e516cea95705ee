import assert from "node:assert/strict";
import { test } from "node:test";
import { problemOf, retryAfter } from "../../../service/web/js/api.js";

test("a status and its sentence become a problem", () => {
  assert.equal(problemOf(503, "the queue is full"), "busy");
  assert.equal(problemOf(504, ""), "late");
  assert.equal(problemOf(413, ""), "too_long");
  assert.equal(problemOf(400, "Invalid request: request (9) exceeds text limit (5)"), "too_long");
  assert.equal(problemOf(400, "xx is not supported"), "refused");
  assert.equal(problemOf(422, ""), "refused");
  assert.equal(problemOf(500, ""), "broken");
});

test("how long to wait stays within reason", () => {
  assert.equal(retryAfter("2"), 2);
  assert.equal(retryAfter("0"), 1);
  assert.equal(retryAfter("86400"), 60);
  assert.equal(retryAfter("Wed, 21 Oct 2026 07:28:00 GMT"), null);
  assert.equal(retryAfter(null), null);
});
