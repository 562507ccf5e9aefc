import assert from "node:assert/strict";
import { test } from "node:test";
import { SessionStream } from "../../../web/static/js/stream/session-stream.js";
import { frame, serveEvents, settled } from "./server.js";

/**
 * A stream with a server, and what it reports. The clock stands still until the test moves it.
 * @param {import("node:test").TestContext} context @param {{refuses?: boolean}} [server]
 */
function listening(context, server) {
  context.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  const connections = serveEvents(context, server);
  /** @type {string[]} */ const received = [];
  /** @type {boolean[]} */ const states = [];
  let refusals = 0;
  const stream = new SessionStream("/chat/sse", () => ({ "X-Session-ID": "s" }), {
    event: ({ type, data }) => received.push(`${type} ${JSON.stringify(data)}`),
    refused: () => { refusals++; },
    state: (connected) => states.push(connected),
  });
  context.after(() => stream.close());
  return { stream, connections, received, states, refusals: () => refusals };
}

const delta = (/** @type {number} */ offset, epoch = "e") => frame(`${epoch}-${offset}`, "delta", { at: offset });
const told = (/** @type {number[]} */ ...offsets) => offsets.map((at) => `delta {"at":${at}}`);

test("events are delivered once each, whatever the chunks", async (context) => {
  const { stream, connections, received, states } = listening(context);
  stream.reopen();
  await settled();
  connections[0].send(delta(1) + delta(2).slice(0, 9));
  connections[0].send(delta(2).slice(9) + delta(2) + delta(1));
  await settled();
  assert.deepEqual([received, states], [told(1, 2), [true]]);
  assert.equal(connections[0].headers["X-Session-ID"], "s");
});

test("after a break the stream goes on after the last event seen, as often as need be", async (context) => {
  const { stream, connections, received, states } = listening(context);
  stream.reopen();
  await settled();
  for (const offset of [1, 2]) {
    connections[connections.length - 1].send(delta(offset));
    await settled();
    connections[connections.length - 1].end();
    await settled();
    context.mock.timers.tick(20_000);
    await settled();
  }
  assert.deepEqual(connections.map(({ url }) => url), ["/chat/sse", "/chat/sse?last_event_id=e-1", "/chat/sse?last_event_id=e-2"]);
  assert.deepEqual([received, states], [told(1, 2), [true, false, true, false, true]]);
});

test("an event outside the log is no place to go on from", async (context) => {
  const { stream, connections, received } = listening(context);
  stream.reopen();
  await settled();
  connections[0].send(delta(1) + frame("x-9", "session") + frame("", "expired", { reason: "deleted" }));
  await settled();
  stream.reopen();
  assert.deepEqual(received, [...told(1), "session {}", 'expired {"reason":"deleted"}']);
  assert.equal(connections[1].url, "/chat/sse?last_event_id=e-1");
});

test("a stream that is refused says so, and tries again", async (context) => {
  const server = { refuses: true };
  const { stream, connections, states, refusals } = listening(context, server);
  stream.reopen();
  await settled();
  assert.deepEqual([refusals(), states], [1, [false]]);
  server.refuses = false;
  context.mock.timers.tick(20_000);
  await settled();
  assert.deepEqual([connections.length, refusals(), states], [2, 1, [false, true]]);
});

test("a connection that falls silent is opened again, and one that is not stays", async (context) => {
  const { stream, connections } = listening(context);
  stream.reopen();
  await settled();
  context.mock.timers.tick(38_000);
  connections[0].send(": still here\n\n");
  await settled();
  context.mock.timers.tick(38_000);
  await settled();
  assert.equal(connections.length, 1);
  context.mock.timers.tick(4_000);
  await settled();
  assert.equal(connections.length, 2);
});

test("data that is no JSON is a break: the stream goes on after it", async (context) => {
  const { stream, connections, received } = listening(context);
  stream.reopen();
  await settled();
  connections[0].send(`${delta(1)}event: delta\nid: e-2\ndata: {\n\n`);
  await settled();
  context.mock.timers.tick(20_000);
  await settled();
  connections[1].send(delta(3));
  await settled();
  assert.deepEqual([received, connections[1].url], [told(1, 3), "/chat/sse?last_event_id=e-2"]);
});

test("held events wait for the snapshot, and only those after its cursor follow it", async (context) => {
  const { stream, connections, received } = listening(context);
  stream.reopen();
  stream.hold();
  await settled();
  connections[0].send(delta(1) + delta(2) + delta(3));
  await settled();
  assert.deepEqual(received, []);
  assert.deepEqual((await stream.receivedUpTo("e-2"))?.map(({ data }) => data), [{ at: 1 }, { at: 2 }]);
  stream.resumeAfter("e-2");
  stream.release();
  assert.deepEqual([received, connections.length], [told(3), 1]);
});

test("a snapshot's events that are still on the way are waited for, but not for ever", async (context) => {
  const { stream, connections } = listening(context);
  stream.reopen();
  stream.hold();
  await settled();
  connections[0].send(delta(1));
  await settled();
  const awaited = stream.receivedUpTo("e-2");
  connections[0].send(delta(2));
  assert.equal((await awaited)?.length, 2);
  const missing = stream.receivedUpTo("e-3");
  context.mock.timers.tick(1_000);
  assert.equal(await missing, null);
});

test("a snapshot of another log has the stream opened anew after its cursor", async (context) => {
  const { stream, connections, received } = listening(context);
  stream.reopen();
  stream.hold();
  await settled();
  connections[0].send(delta(7));
  await settled();
  assert.equal(await stream.receivedUpTo("f-2"), null);
  stream.resumeAfter("f-2");
  stream.release();
  await settled();
  connections[1].send(delta(3, "f"));
  await settled();
  assert.deepEqual([received, connections[1].url], [told(3), "/chat/sse?last_event_id=f-2"]);
});

test("a stream that is closed forgets its place; one that pauses does not", async (context) => {
  const { stream, connections } = listening(context);
  stream.reopen();
  await settled();
  connections[0].send(delta(1));
  await settled();
  stream.pause();
  assert.deepEqual([stream.connecting, stream.wanted], [false, true]);
  stream.reopen();
  stream.close();
  assert.deepEqual([stream.connecting, stream.wanted], [false, false]);
  stream.reopen();
  assert.deepEqual(connections.map(({ url }) => url), ["/chat/sse", "/chat/sse?last_event_id=e-1", "/chat/sse"]);
});

test("an error in a handler is no break of the connection", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  /** @type {unknown[]} */ const errors = [];
  Object.assign(globalThis, { reportError: (/** @type {unknown} */ error) => errors.push(error) });
  const connections = serveEvents(context);
  const stream = new SessionStream("/chat/sse", () => ({}), {
    event() { throw new Error("a fault of the page"); }, refused() {}, state() {},
  });
  context.after(() => stream.close());
  stream.reopen();
  await settled();
  connections[0].send(delta(1) + delta(2));
  await settled();
  assert.deepEqual([errors.length, connections.length, stream.connecting], [2, 1, true]);
});
