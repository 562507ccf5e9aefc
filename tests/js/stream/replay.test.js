import assert from "node:assert/strict";
import { test } from "node:test";
import { replay } from "../../../web/static/js/stream/replay.js";

/**
 * The events that a replay up to e-3 makes of what the server sends.
 * @param {import("node:test").TestContext} context @param {string} sent
 */
async function replayed({ mock }, sent, live = true) {
  /** @type {string[]} */ const asked = [];
  mock.method(globalThis, "fetch", async (/** @type {string} */ url) => {
    asked.push(url);
    return new Response(sent);
  });
  const events = await replay("/chat/sse", {}, "e-3", live);
  return { asked, events: events.map(({ type, data }) => [type, data]) };
}

/** @param {string} id @param {string} [type] */
const event = (id, type = "delta") => `event: ${type}\nid: ${id}\ndata: "${id}"\n\n`;

test("a replay ends at the cursor", async (context) => {
  const { asked, events } = await replayed(context, event("e-1") + event("e-2") + event("e-3") + event("e-4"));
  assert.deepEqual(events, [["delta", "e-1"], ["delta", "e-2"], ["delta", "e-3"]]);
  assert.deepEqual(asked, ["/chat/sse"]);
});

test("a replay of an answer that has ended begins some events before the cursor", async (context) => {
  const { asked } = await replayed(context, event("e-3"), false);
  assert.deepEqual(asked, ["/chat/sse?last_event_id=e-0"]);
});

const ENDS = [["a reset", event("e-2", "reset")], ["another log", event("f-2")], ["a later event", event("e-9")]];
for (const [name, between] of ENDS) {
  test(`a replay ends before ${name}`, async (context) => {
    assert.deepEqual((await replayed(context, event("e-1") + between + event("e-3"))).events, [["delta", "e-1"]]);
  });
}

test("a replay that breaks off, or is not JSON, is what came until then", async (context) => {
  assert.deepEqual((await replayed(context, `${event("e-1")}event: delta\nid: e-2\ndata: {`)).events, [["delta", "e-1"]]);
  assert.deepEqual((await replayed(context, `${event("e-1")}id: e-2\ndata: {\n\n`)).events, [["delta", "e-1"]]);
});

test("a replay that is refused is empty", async ({ mock }) => {
  mock.method(globalThis, "fetch", async () => new Response("", { status: 503 }));
  assert.deepEqual(await replay("/chat/sse", {}, "e-3", true), []);
  mock.method(globalThis, "fetch", async () => { throw new TypeError("no network"); });
  assert.deepEqual(await replay("/chat/sse", {}, "e-3", true), []);
});
