import assert from "node:assert/strict";
import { test } from "node:test";
import { showLongWaits } from "../../../web/static/js/conversation/queue-wait.js";
import { Store } from "../../../web/static/js/conversation/store.js";
import { delta, queued, session, started, thinks } from "./actions.js";

test("each subscriber is told of each action, with the state before it", () => {
  const store = new Store();
  const before = store.state;
  /** @type {unknown[]} */ const told = [];
  store.subscribe((now, old) => told.push(["first", now === store.state, old === before]));
  store.subscribe((now, old) => told.push(["second", now === store.state, old === before]));
  store.dispatch({ type: "sending", text: "Why?" });
  assert.deepEqual(told, [["first", true, true], ["second", true, true]]);
});

test("the store is idle once no question is on its way or being answered", async () => {
  const store = new Store();
  await store.idle();
  let idle = false;
  store.dispatch({ type: "sending", text: "Why?" });
  const waiting = store.idle().then(() => { idle = true; });
  store.dispatch({ type: "sent" });
  await Promise.resolve();
  assert.equal(idle, false, "the server's account of the question has not come");
  store.dispatch({ type: "unsent" });
  await waiting;
  assert.ok(idle);
});

test("an answer about a conversation that was left is known to be that", () => {
  const store = new Store();
  const current = store.sameConversation();
  store.dispatch({ type: "opened" });
  assert.ok(current());
  store.dispatch({ type: "clear" });
  assert.ok(!current());
  assert.ok(store.sameConversation()());
});

test("a state can't be changed but by an action", () => {
  const store = new Store();
  for (const action of [{ type: /** @type {const} */ ("session"), session, etag: null }, queued(2), thinks(0, "Hm"), delta(0, "a")]) {
    store.dispatch(action);
  }
  const { state } = store;
  for (const value of [state, state.session, state.messages, state.live, state.live?.thinking, state.eventDetails]) {
    assert.ok(value && Object.isFrozen(value));
  }
});

test("a wait in the queue is shown when it is long, and not when it is over by then", ({ mock }) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const store = new Store();
  showLongWaits(store);
  store.dispatch(queued(2));
  mock.timers.tick(799);
  assert.equal(store.state.live?.waits, false);
  store.dispatch(queued(1));
  mock.timers.tick(1);
  assert.equal(store.state.live?.waits, true, "another place in the queue does not begin the wait anew");
  store.dispatch({ type: "clear" });
  store.dispatch(queued(2));
  store.dispatch(started());
  mock.timers.tick(10_000);
  assert.equal(store.state.live?.waits, false);
});
