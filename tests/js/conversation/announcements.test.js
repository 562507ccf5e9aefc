import assert from "node:assert/strict";
import { test } from "node:test";
import { announcementOf, endedJustNow } from "../../../web/static/js/conversation/announcements.js";
import { initialState, reduce } from "../../../web/static/js/conversation/reducer.js";
import { answer, answering, delta, done, event, idle, queued, question, snapshot, started, thinks } from "./actions.js";

/**
 * What is announced on the way.
 * @param {import("./actions.js").State} state @param {...import("./actions.js").Action} actions
 */
function heard(state, ...actions) {
  const words = [];
  for (const action of actions) {
    const now = reduce(state, action);
    const told = announcementOf(state, now, (model) => model.toUpperCase());
    if (told) words.push(told.words);
    state = now;
  }
  return words;
}

test("an answer is announced when it begins and when it ends, not word by word", () => {
  assert.deepEqual(heard(answering, started(), delta(0, "a"), delta(1, "b"), delta(2, "c"), done()),
    ["Answering", "Answer complete"]);
});

test("thinking is announced once, and so is the answer after it", () => {
  assert.deepEqual(heard(answering, thinks(0, "a"), thinks(1, "b"), delta(0, "x"), delta(1, "y")),
    ["M is thinking", "Answering"]);
});

test("an event that comes twice is announced once", () => {
  const once = [thinks(0, "a"), delta(0, "x"), done()];
  assert.deepEqual(heard(answering, ...once.flatMap((each) => [each, each])), heard(answering, ...once));
});

test("a wait is announced only when it is long, with each new place", () => {
  assert.deepEqual(heard(idle, queued(2), queued(1)), []);
  assert.deepEqual(heard(idle, queued(2), { type: "waits" }, queued(1), queued(1), queued(0)),
    ["Waiting: 2 answers are before yours", "Waiting: 1 answer is before yours", "Next in line"]);
});

test("a fallback is announced with its reason", () => {
  assert.deepEqual(heard(answering, event("fallback", { from: "m", to: "n", reason: "quota" })),
    ["N is answering, because M has no quota left"]);
});

test("the end of a conversation is announced once", () => {
  const over = /** @type {import("./actions.js").Action} */ ({ type: "ended", reason: "Its time ran out." });
  assert.deepEqual(heard(answering, over, over, delta(0, "a")), ["This conversation is over"]);
});

test("the end of an answer is announced by its kind, and a failure with what failed", () => {
  const problem = { type: "/problems/provider-failed", model: "m", reason: "quota" };
  assert.deepEqual(heard(answering, event("stopped")), ["Answer stopped"]);
  assert.deepEqual(heard(answering, event("failed", { problem })),
    ["The answer failed. M has no quota left. Choose another model, and tell the operator."]);
  assert.deepEqual(heard(answering, delta(0, "a"), event("failed", { problem: { type: "/problems/generation-lost" } })),
    ["Answering", "The answer failed. Incomplete. The answer was interrupted."]);
});

test("an old answer that a reload shows is no news", () => {
  assert.deepEqual(heard(initialState, snapshot([question(), answer({ state: "failed" })])), []);
});

test("an answer that a snapshot ends is announced by its end", () => {
  assert.deepEqual(heard(answering, snapshot([question(), answer({ text: "a", state: "stopped" })])), ["Answer stopped"]);
  const failed = reduce(answering, snapshot([question(), answer({ state: "failed" })]));
  assert.equal(endedJustNow(answering, failed)?.state, "failed");
});
