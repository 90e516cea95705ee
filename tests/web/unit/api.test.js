import assert from "node:assert/strict";
import { test } from "node:test";
import { events, problemOf, retryAfter } from "../../../service/web/js/api.js";

test("a status and its sentence become a problem", () => {
  assert.equal(problemOf(503, "the queue is full"), "busy");
  assert.equal(problemOf(504, ""), "late");
  assert.equal(problemOf(413, ""), "too_long");
  assert.equal(problemOf(400, "Invalid request: request (9) exceeds text limit (5)"), "too_long");
  assert.equal(problemOf(400, "xx is not supported"), "refused");
  assert.equal(problemOf(422, ""), "refused");
  assert.equal(problemOf(500, ""), "broken");
  assert.equal(problemOf(401, ""), "key");
  assert.equal(problemOf(400, "Please contact the server operator to get an API key"), "key");
  assert.equal(problemOf(403, "Invalid API key"), "key");
  assert.equal(problemOf(429, "Slowdown: 1 per 1 minute"), "rate");
});

test("how long to wait stays within reason", () => {
  assert.equal(retryAfter("2"), 2);
  assert.equal(retryAfter("0"), 1);
  assert.equal(retryAfter("86400"), 60);
  assert.equal(retryAfter("Wed, 21 Oct 2026 07:28:00 GMT"), null);
  assert.equal(retryAfter(null), null);
});

test("events are read wherever the network cuts them", async () => {
  const sent = 'event: sentence\ndata: {"text":"é"}\n\n:\n\nevent: end\ndata: {"translatedText":"é"}\n\n';
  const bytes = new TextEncoder().encode(sent);
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(bytes.slice(0, cut));
        controller.enqueue(bytes.slice(cut));
        controller.close();
      },
    });
    const found = [];
    for await (const event of events(new Response(body))) found.push(event);
    assert.deepEqual(found, [
      { name: "sentence", data: { text: "é" } },
      { name: "end", data: { translatedText: "é" } },
    ]);
  }
});
