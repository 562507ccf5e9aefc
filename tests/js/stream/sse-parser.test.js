import assert from "node:assert/strict";
import { test } from "node:test";
import { readEvents } from "../../../web/static/js/stream/sse-parser.js";

/** @param {string} text @param {number} size of each piece, in bytes */
async function parse(text, size) {
  const bytes = new TextEncoder().encode(text);
  const body = new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
      controller.close();
    },
  });
  const events = [];
  for await (const { type, id, data } of readEvents(body)) events.push([type, id, data]);
  return events;
}

for (const size of [1, 2, 3, 7, 1_000]) {
  test(`events are whole, whatever the network cuts: ${size} bytes at a time`, async () => {
    const sent = "event: delta\nid: e-1\ndata: {\"text\": \"👋🏽\"}\n\n: ping\n\ndata:a\ndata: b\n\n";
    assert.deepEqual(await parse(sent, size), [
      ["delta", "e-1", "{\"text\": \"👋🏽\"}"],
      ["message", "", "a\nb"],
    ]);
    assert.deepEqual(await parse("event: x\r\ndata: 1\r\n\r\n", size), [["x", "", "1"]]);
  });
}

test("an event without data, or without its end, is none", async () => {
  assert.deepEqual(await parse("event: x\nid: e-1\n\ndata: 1\n", 5), []);
});

test("an unknown field is passed over, and a name without a colon is a field", async () => {
  assert.deepEqual(await parse("retry: 5\nfoo: bar\ndata\ndata: 1\n\n", 5), [["message", "", "\n1"]]);
});
