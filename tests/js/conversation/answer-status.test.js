import assert from "node:assert/strict";
import { test } from "node:test";
import { recoveryAction, statusLine, thinkingSummary } from "../../../web/static/js/conversation/answer-status.js";

/** @param {object} fields @returns {any} */
const item = (fields) => ({ role: "assistant", text: "", state: "complete", model: "m", ...fields });
/** @param {string} reason @param {object} [details] */
const failed = (reason, details) =>
  item({ state: "failed", problem: { type: "/problems/provider-failed", model: "m", reason, ...details } });
/** @param {any} of */
const status = (of) => statusLine(of, (model) => model.toUpperCase());

test("a complete answer is its model's, without further words", () => {
  for (const finish_reason of ["stop", null, undefined]) assert.equal(status(item({ finish_reason })), "M");
});

for (const name of ["constructor", "__proto__", "toString", "", "a reason from the future"]) {
  test(`a reason called ${JSON.stringify(name)} has general words`, () => {
    assert.equal(status(failed(name)), "M was not available.");
    assert.equal(status(failed("too-long", { subject: name, tokens: 9, limit: 5 })),
      "Your message is too long for M: 9 tokens, of 5 at the most. Shorten your message, or choose another model.");
    assert.equal(status(failed("empty", {})), "M gave no answer. Try again.");
    assert.equal(status({ ...failed("empty"), finish_reason: name }), "M gave no answer. Try again.");
    assert.equal(status(item({ finish_reason: name })), "M · The provider ended this answer without saying why.");
    assert.equal(recoveryAction(item({ finish_reason: name })), "retry");
  });
}

test("an answer that failed without a word why can be asked for again", () => {
  assert.equal(status(item({ state: "failed" })), "This question was not answered.");
  assert.equal(status(item({ state: "failed", text: "Half" })), "Incomplete. The rest of this answer never came.");
  assert.equal(status(item({ state: "failed", problem: { type: "/problems/unheard-of" } })), "The server made a mistake.");
  assert.equal(recoveryAction(item({ state: "failed" })), "retry");
});

for (const [limit, words] of [
  ["cost", "You have used up your budget for now."],
  ["messages", "You have sent many messages in a short time."],
  ["constructor", "That was a lot in a short time."],
]) {
  test(`a question whose turn came when the limit ${limit} had been reached says so`, () => {
    const problem = { type: "/problems/rate-limited", limit, retry_after: 40_000 };
    assert.equal(status(item({ state: "failed", problem })), words);
  });
}

for (const [seconds, words] of /** @type {[number | null, string][]} */ ([
  [null, "Thought"], [1, "Thought for 1 s"], [59, "Thought for 59 s"], [60, "Thought for 1 min"],
  [75, "Thought for 1 min 15 s"], [3_600, "Thought for 1 h"], [3_725, "Thought for 1 h 2 min"],
])) {
  test(`thinking of ${seconds} s is told as: ${words}`, () => {
    assert.equal(thinkingSummary(item({ thinking_seconds: seconds })), words);
  });
}

test("a fallback that the server has kept has the words that it had while it was told", () => {
  const fallback = { from: "a", to: "m", reason: "rate-limited", at: 0 };
  assert.equal(status(item({ fallback })), "Answered by M, because A was overloaded");
  assert.equal(status(item({ fallback: { ...fallback, at: 7 } })), "Finished by M, because A was overloaded");
  assert.equal(status(item({ fallback, state: "stopped" })), "Stopped · M, because A was overloaded");
  assert.equal(status(item({ fallback: null })), "M");
});

test("of an answer that was handed over all are named that wrote it, the one that ended it last", () => {
  const handed = (/** @type {string} */ model, /** @type {[string, string][]} */ ...steps) =>
    status(item({ model, handovers: steps.map(([from, to]) => ({ from, to, at: 1 })) }));
  assert.equal(handed("b", ["a", "b"]), "A, then B");
  assert.equal(handed("a", ["a", "b"], ["b", "a"]), "A, then B, then A");
  assert.equal(handed("c", ["a", "b"]), "A, then C");
  assert.equal(handed("a", ["a", "b"]), "A");
});
