import assert from "node:assert/strict";
import { test } from "node:test";
import { Problem } from "../../../web/static/js/api/problem.js";
import { Store } from "../../../web/static/js/conversation/store.js";
import { Sync } from "../../../web/static/js/conversation/sync.js";
import { frame, serveEvents, settled } from "../stream/server.js";
import { answer, ID, question, session } from "./actions.js";

/** @param {any[]} messages @param {string | null} cursor */
const transcriptOf = (messages, cursor) => ({ messages, cursor, before: null });

/**
 * A store that is kept in step with a server: `server` can be changed on the way.
 * @param {import("node:test").TestContext} context
 */
function synchronised(context) {
  context.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  const connections = serveEvents(context);
  const store = new Store();
  const server = {
    fetches: 0,
    /** The sessions that calls are about, in order. @type {unknown[]} */ used: [],
    /** @type {() => any} */ session: () => ({ data: session, etag: '"1"' }),
    /** @type {() => any} */ transcript: () => transcriptOf([question()], "e-1"),
  };
  /** @type {unknown[][]} */ const told = [];
  const called = (/** @type {string} */ name) => (/** @type {any} */ value) => { told.push([name, value]); };
  const sync = new Sync(store, {
    api: /** @type {any} */ ({
      currentSession: async () => { server.fetches++; return server.session(); },
      transcript: async () => server.transcript(),
      useSession: (/** @type {unknown} */ used) => server.used.push(used),
      url: (/** @type {string} */ path) => path,
      sessionHeaders: () => ({}),
    }),
    expected: () => null,
    synced: called("synced"),
    lost: async (error) => { told.push(["lost", error.slug]); },
    expired: called("expired"),
    connection() {},
  });
  context.after(() => sync.stream.close());
  return { store, sync, server, connections, told };
}

test("a snapshot is followed by the events after its cursor", async (context) => {
  const { store, sync, server, connections, told } = synchronised(context);
  server.transcript = () => transcriptOf([question(), answer({ text: "ab" })], "e-4");
  const refreshed = sync.refresh();
  await settled();
  connections[0].end(); // the replay of what led there
  await refreshed;
  assert.deepEqual(told, [["synced", true]]);
  await settled();
  const live = connections[connections.length - 1];
  assert.equal(live.url, "/chat/sse?last_event_id=e-4");
  live.send(frame("e-5", "delta", { generation_id: ID, at: 2, text: "c" }));
  await settled();
  assert.deepEqual([store.state.live?.text, store.state.stale, server.fetches], ["abc", false, 1]);
});

test("a gap in the events has the server's account fetched, once", async (context) => {
  const { store, sync, server, connections } = synchronised(context);
  await sync.refresh();
  await settled();
  server.transcript = () => transcriptOf([question(), answer({ text: "all", state: "complete" })], "e-9");
  connections[0].send(frame("e-8", "delta", { generation_id: ID, at: 5, text: "x" }) + frame("e-9", "done", { generation_id: ID }));
  await settled();
  assert.deepEqual([store.state.messages.at(-1)?.text, store.state.stale, server.fetches], ["all", false, 2]);
});

test("a reset has the server's account fetched, and the stream opened at its cursor", async (context) => {
  const { store, sync, server, connections } = synchronised(context);
  await sync.refresh();
  await settled();
  server.transcript = () => transcriptOf([question(), question({ id: "r" })], "f-3");
  connections[0].send(frame("", "reset"));
  await settled();
  assert.deepEqual([store.state.messages.map(({ id }) => id), connections[1].url], [["q", "r"], "/chat/sse?last_event_id=f-3"]);
});

test("the end of the stream is told with its reason", async (context) => {
  const { sync, connections, told } = synchronised(context);
  await sync.refresh();
  await settled();
  connections[0].send(frame("", "expired", { reason: "deleted" }));
  await settled();
  assert.deepEqual(told.at(-1), ["expired", "deleted"]);
});

test("a refresh during another is done after it, and many are one", async (context) => {
  const { sync, server } = synchronised(context);
  const all = [sync.refresh(), sync.refresh(), sync.refresh()];
  assert.ok(sync.unsettled);
  await Promise.all(all);
  assert.deepEqual([server.fetches, sync.unsettled], [2, false]);
});

test("a session that is lost is told; what failed otherwise is tried again", async (context) => {
  const { sync, server, told } = synchronised(context);
  server.session = () => { throw new Problem({ status: 503 }); };
  await sync.refresh();
  assert.deepEqual([told, sync.unsettled], [[], true]);
  server.session = () => { throw new Problem({ status: 401, type: "/problems/session-expired" }); };
  context.mock.timers.tick(1_000);
  await settled();
  assert.deepEqual([told, sync.unsettled, server.fetches], [[["lost", "session-expired"]], false, 2]);
});

test("the account of a conversation that was left meanwhile is not taken for the present", async (context) => {
  const { store, sync, server, told, connections } = synchronised(context);
  server.transcript = () => { store.dispatch({ type: "clear" }); return transcriptOf([question()], "e-1"); };
  await sync.refresh();
  assert.deepEqual([store.state.session, store.state.messages, told, connections.length], [null, [], [], 0]);
  assert.deepEqual(server.used, [], "calls are not about it any more");
});

test("a conversation that is left during the replay stays left", async (context) => {
  const { store, sync, server, connections, told } = synchronised(context);
  server.transcript = () => transcriptOf([question(), answer()], "e-3");
  const refreshed = sync.refresh();
  await settled();
  store.dispatch({ type: "clear" });
  connections[0].end();
  await refreshed;
  assert.deepEqual([store.state.session, told, connections.length], [null, [], 1]);
});

test("a failure about a conversation that was left meanwhile is no news", async (context) => {
  const { store, sync, server, told } = synchronised(context);
  server.session = () => {
    store.dispatch({ type: "clear" });
    throw new Problem({ status: 401, type: "/problems/session-expired" });
  };
  await sync.refresh();
  assert.deepEqual([told, sync.unsettled], [[], false]);
});

test("what follows a reset on the same connection is not taken for the present", async (context) => {
  const { store, sync, server, connections } = synchronised(context);
  server.transcript = () => transcriptOf([question(), answer({ text: "ab" })], null);
  await sync.refresh();
  await settled();
  /** @type {(reason: unknown) => void} */ let fail = () => {};
  server.session = () => new Promise((_, reject) => { fail = reject; });
  connections[0].send(frame("", "reset") + frame("f-1", "delta", { generation_id: ID, at: 2, text: "c" }));
  await settled();
  fail(new Problem({ status: 503 })); // then what was held meanwhile is let go
  await settled();
  assert.equal(store.state.live?.text, "ab");
});

test("an answer's replayed events are the ones that lead to the snapshot, from its first on", async (context) => {
  const { store, sync, server, connections } = synchronised(context);
  server.transcript = () => transcriptOf([question(), answer({ text: "ab" })], "e-3");
  const refreshed = sync.refresh();
  await settled();
  connections[0].send(frame("e-1", "queued", { generation_id: ID }) + frame("e-2", "started", { generation_id: ID, model: "m" })
    + frame("e-3", "delta", { generation_id: ID, at: 0, text: "ab" }));
  await refreshed;
  assert.deepEqual([store.state.live?.seenFromStart, store.state.live?.text], [true, "ab"]);
});

test("the time of an answer's thinking is not measured by a replay of what this page did not ask", async (context) => {
  const { store, sync, server, connections } = synchronised(context);
  server.transcript = () => transcriptOf([question(), answer({ thinking: "Hm", thinking_seconds: 7 })], "e-2");
  const refreshed = sync.refresh();
  await settled();
  connections[0].send(frame("e-1", "queued", { generation_id: ID }) + frame("e-2", "thinking", { generation_id: ID, at: 0, text: "Hm" }));
  await refreshed;
  assert.equal(store.state.live?.thinking.spent, 7_000);
});
