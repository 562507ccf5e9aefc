import assert from "node:assert/strict";
import { test } from "node:test";
import {
  initialState, isBusy, items, ownedSessionId, reduce,
} from "../../../web/static/js/conversation/reducer.js";
import {
  answer, answering, block, delta, done, event, ID, idle, queued, question, run, session, snapshot, started, thinks,
} from "./actions.js";

/** @param {import("./actions.js").State} state */
const last = (state) => /** @type {import("../../../web/static/js/conversation/reducer.js").Item} */ (items(state).at(-1));

// ---- One answer --------------------------------------------------------------------------------------------------

test("an answer is queued, started, written and done", () => {
  const phases = [];
  let state = idle;
  for (const action of [queued(3), started(), delta(0, "Be"), delta(2, "cause.")]) {
    state = reduce(state, action);
    phases.push([state.live?.phase, state.live?.position, state.live?.text]);
  }
  assert.deepEqual(phases, [["queued", 3, ""], ["connecting", 0, ""], ["answering", 0, "Be"], ["answering", 0, "Because."]]);
  state = reduce(state, done());
  assert.equal(state.live, null);
  assert.ok(state.stale, "the server has the answer as HTML");
  assert.deepEqual(state.messages.map(({ id, text, state: end }) => [id, text, end]), [[ID, "Because.", "complete"]]);
});

test("thinking comes before the answer, and its time is measured", () => {
  const state = run(answering, started(), thinks(0, "Hm", 1_000), thinks(2, "m.", 3_000), delta(0, "So:", 13_400), done());
  assert.deepEqual(last(state).thinking, "Hmm.");
  assert.equal(last(state).thinking_seconds, 12);
  assert.equal(last(state).text, "So:");
});

test("a thinking model thinks, and answers from its first word on", () => {
  const thinking = run(answering, thinks(0, "Hm"));
  assert.equal(thinking.live?.phase, "thinking");
  assert.equal(run(thinking, delta(0, "So")).live?.phase, "answering");
});

for (const [name, end, expected] of /** @type {[string, import("./actions.js").Action, object][]} */ ([
  ["done", done(), { state: "complete", finish_reason: "stop", problem: undefined }],
  ["stopped", event("stopped", { finish_reason: "stopped" }), { state: "stopped", finish_reason: "stopped", problem: undefined }],
  ["failed", event("failed", { problem: { type: "/problems/generation-lost" } }),
    { state: "failed", finish_reason: undefined, problem: { type: "/problems/generation-lost" } }],
])) {
  test(`an answer that is ${name} keeps its words`, () => {
    const message = run(answering, delta(0, "Half"), end).messages.at(-1);
    assert.ok(message);
    const { text, state, finish_reason, problem } = message;
    assert.deepEqual({ text, state, finish_reason, problem }, { text: "Half", ...expected });
  });
}

// ---- Events doubled, out of order, missing -------------------------------------------------------------------------

test("each event may come twice", () => {
  const events = [queued(), started(), thinks(0, "Hm"), delta(0, "ab"), delta(2, "cd"), done()];
  const once = run(answering, ...events);
  const twice = run(answering, ...events.flatMap((each) => [each, each]));
  assert.deepEqual(twice, once);
});

test("a whole answer told again after its end changes nothing", () => {
  const events = [queued(), started(), thinks(0, "Hm"), delta(0, "ab"), done()];
  const state = run(answering, ...events);
  assert.equal(run(state, ...events), state);
});

test("a delta that overlaps adds only what is new", () => {
  assert.equal(run(answering, delta(0, "abc"), delta(1, "bcd"), delta(0, "a")).live?.text, "abcd");
});

test("offsets are code points, not UTF-16 units", () => {
  const { live, stale } = run(answering, delta(0, "a👋🏽"), delta(3, "b"), delta(2, "🏽bc"));
  assert.deepEqual([live?.text, live?.length, stale], ["a👋🏽bc", 5, false]);
});

test("finished blocks are kept in order, once, and as far as the text goes", () => {
  const told = [block(0, 2, "<p>ab</p>"), block(3, 5, "<p>de</p>")];
  const state = run(answering, delta(0, "ab\nde\nfg"), ...told, ...told, block(6, 9, "<p>beyond</p>"));
  assert.deepEqual(state.live?.blocks.map(({ html }) => html), ["<p>ab</p>", "<p>de</p>"]);
  const together = run(state, block(0, 8, "<p>all</p>"), block(3, 5, "<p>de</p>"));
  assert.deepEqual(together.live?.blocks.map(({ html }) => html), ["<p>all</p>"]);
  assert.deepEqual(run(state, event("resumed", { at: 4 })).live?.blocks.map(({ upto }) => upto), [2]);
  assert.deepEqual(last(run(state, done())).blocks?.length, 2, "until the server's HTML is here");
});

test("a gap makes the state stale and adds nothing", () => {
  for (const gap of [delta(3, "d"), thinks(5, "d"), event("resumed", { at: 9 }), event("fallback", { to: "n", at: 9 })]) {
    const { live, stale } = run(answering, delta(0, "ab"), gap);
    assert.deepEqual([live?.text, live?.thinking.text, stale], ["ab", "", true]);
  }
});

test("deltas out of order are a gap first, and the snapshot mends it", () => {
  const early = run(answering, delta(2, "cd"), delta(0, "ab"));
  assert.deepEqual([early.live?.text, early.stale], ["ab", true]);
  const mended = run(early, snapshot([question(), answer({ text: "abcd" })]), delta(4, "e"));
  assert.deepEqual([mended.live?.text, mended.stale], ["abcde", false]);
});

test("an end before its beginning is told makes the state stale", () => {
  const state = run(idle, done(), started());
  assert.ok(state.stale);
});

test("events that follow an end of the answer are not part of it", () => {
  const state = run(answering, delta(0, "ab"), done(), delta(2, "c"), thinks(0, "x"), event("resumed", { at: 0 }), started());
  assert.equal(state.live, null);
  assert.equal(state.messages.at(-1)?.text, "ab");
});

test("unknown events and actions change nothing", () => {
  for (const kind of ["", "done ", "DONE", "__proto__", "constructor", "toString", "heartbeat"]) {
    assert.equal(reduce(answering, event(kind)), answering);
    assert.equal(reduce(answering, /** @type {any} */ ({ type: kind || "?" })), answering);
  }
});

test("an event without data of its own does not throw", () => {
  for (const kind of ["queued", "started", "delta", "thinking", "fallback", "resumed", "done", "stopped", "failed", "model"]) {
    for (const state of [initialState, idle, answering]) reduce(state, { type: "event", event: /** @type {any} */ ({ type: kind, data: {} }) });
  }
});

test("a message named like a property of all objects is only a message", () => {
  const state = run(idle, event("done", { generation_id: "constructor" }));
  assert.equal(items(state).length, 0);
  assert.ok(state.stale);
});

// ---- Another worker or model goes on ---------------------------------------------------------------------------

test("a resumed answer goes back to where it was kept", () => {
  const state = run(answering, thinks(0, "abcd"), delta(0, "wxyz"), event("resumed", { at: 2, thinking: 3 }));
  assert.deepEqual([state.live?.text, state.live?.thinking.text, state.stale], ["wx", "abc", false]);
  assert.equal(run(state, delta(2, "!")).live?.text, "wx!");
});

test("a resumed answer may begin again", () => {
  const state = run(answering, thinks(0, "a👋🏽"), delta(0, "x"), event("resumed", { at: 0, thinking: 0 }));
  assert.deepEqual([state.live?.phase, state.live?.text, state.live?.thinking.text], ["answering", "", ""]);
  assert.equal(run(state, thinks(0, "b")).live?.thinking.text, "b");
});

test("a resumed answer of a server that tells no place goes on", () => {
  assert.equal(run(answering, delta(0, "ab"), event("resumed"), delta(2, "c")).live?.text, "abc");
});

test("a fallback before the first word answers in place of the chosen model", () => {
  const state = run(answering, event("fallback", { from: "m", to: "n", reason: "quota", at: 0, thinking: 0 }), delta(0, "a"));
  assert.deepEqual(state.live?.fallback, { from: "m", to: "n", reason: "quota", midway: false });
  assert.equal(last(state).model, "n");
});

test("a fallback midway goes back to what is kept, and says so", () => {
  const fallback = event("fallback", { from: "m", to: "n", reason: "timeout", at: 2, thinking: 0 });
  const state = run(answering, delta(0, "abcd"), fallback);
  assert.deepEqual([state.live?.text, state.live?.fallback?.midway], ["ab", true]);
});

test("of several fallbacks the first reason and the last model count", () => {
  const state = run(
    answering,
    event("fallback", { from: "m", to: "n", reason: "quota" }),
    event("fallback", { from: "n", to: "o", reason: "timeout" }),
    event("done", { model: "o", finish_reason: "stop" }),
  );
  assert.deepEqual(state.eventDetails[ID].fallback, { from: "m", to: "o", reason: "quota", midway: false });
});

test("a handover goes on with the model that was wanted, and is no fallback", () => {
  const wanted = event("handover", { from: "m", to: "n", at: 2, thinking: 0 });
  const state = run(answering, delta(0, "ab"), wanted, delta(2, "c"));
  assert.deepEqual([state.live?.text, state.live?.model, state.live?.fallback, state.stale], ["abc", "n", null, false]);
});

test("another branch is read from the server", () => {
  assert.equal(run(idle, { type: "event", event: { type: "branch", data: { leaf: "m" } } }).stale, true);
});

test("the same model asked again is no fallback", () => {
  assert.equal(run(answering, event("fallback", { from: "m", to: "m", reason: "timeout" })).live?.fallback, null);
});

test("a model that is passed over without a word was resting", () => {
  const state = run(idle, queued(), event("done", { model: "n", finish_reason: "stop" }));
  assert.deepEqual(state.eventDetails[ID].fallback, { from: "m", to: "n", reason: "resting", midway: false });
});

// ---- Two answers, two sessions ---------------------------------------------------------------------------------

test("events of another answer are not mixed into this one", () => {
  for (const kind of ["delta", "thinking", "fallback", "resumed"]) {
    const state = run(answering, delta(0, "ab"), event(kind, { generation_id: "other", at: 0, text: "XX" }));
    assert.deepEqual([state.live?.generation, state.live?.text, state.stale], [ID, "ab", true]);
  }
});

test("the end of another answer leaves this one going on", () => {
  const state = run(answering, delta(0, "ab"), event("done", { generation_id: "other", model: "m" }));
  assert.deepEqual([state.live?.text, state.stale, state.messages.length], ["ab", true, 1]);
});

test("another answer that begins takes the place of one whose end was missed", () => {
  const state = run(answering, delta(0, "ab"), event("started", { generation_id: "h", model: "n" }));
  assert.deepEqual([state.live?.generation, state.live?.text, state.stale], ["h", "", true]);
});

test("two sessions' events, mixed, leave each answer's words apart until the server is asked", () => {
  const ours = [delta(0, "aa"), delta(2, "bb"), delta(4, "cc")];
  const theirs = [0, 2, 4].map((at) => event("delta", { generation_id: "theirs", at, text: "XX" }));
  const state = run(answering, ...ours.flatMap((each, index) => [each, theirs[index]]));
  assert.equal(state.live?.text, "aabbcc");
  assert.ok(state.stale);
});

test("a conversation that is left takes nothing along but the request under way", () => {
  const state = run(answering, delta(0, "ab"), { type: "sending", text: "And?" }, { type: "clear" });
  assert.deepEqual(state, { ...initialState, serial: 1, loading: false, sending: true });
  assert.ok(isBusy(state));
  assert.ok(!isBusy(reduce(state, { type: "sent" })));
});

test("events that come after the end of the conversation are left alone", () => {
  const over = run(answering, delta(0, "ab"), { type: "ended", reason: "Its time ran out." });
  assert.equal(over.live, null);
  assert.equal(run(over, delta(2, "cd"), queued(), done(), event("model", { model: "n", version: 9 })), over);
});

// ---- Asking ----------------------------------------------------------------------------------------------------

test("a question is shown from the moment it is sent, once", () => {
  const sending = run(idle, { type: "sending", text: "Why?" });
  assert.deepEqual([last(sending).text, last(sending).state, isBusy(sending)], ["Why?", "pending", true]);
  const early = run(sending, snapshot([question(), answer()]));
  assert.equal(early.pending, "Why?", "its request is still under way");
  const sent = run(sending, { type: "sent" });
  assert.ok(isBusy(sent), "the server's account of it has not come yet");
  const known = run(sent, snapshot([question(), answer()]));
  assert.deepEqual(items(known).map(({ role }) => role), ["user", "assistant"]);
});

test("a question that could not be sent is not shown any more", () => {
  const state = run(idle, { type: "sending", text: "Why?" }, { type: "unsent" });
  assert.deepEqual(state, idle);
});

test("a question sent while an answer is written waits below it, until the server's list has it", () => {
  const waiting = [{ generation_id: "h", message: "And?" }];
  const sent = run(answering, { type: "sending", text: "And?" }, { type: "sent" });
  assert.deepEqual([sent.pending, sent.queueing, items(sent).length], [null, "And?", 2]);
  const told = run(sent, event("waiting", { generation_id: "h", position: 0 }));
  assert.deepEqual([told.waitingChanges, told.stale], [sent.waitingChanges + 1, false]);
  const listed = run(told, { type: "waiting", waiting });
  assert.deepEqual([listed.queueing, listed.waiting], [null, waiting]);
  const itsTurn = run(listed, done(), event("queued", { generation_id: "h", question: "r", parent: ID, answer: "h", at: 0 }));
  assert.deepEqual([itsTurn.waiting, itsTurn.live?.generation, itsTurn.messages.map(({ id }) => id)], [[], "h", ["q", ID]]);
});

test("a question whose answer is here waits no more, whichever account of it comes first", () => {
  const waiting = [{ generation_id: "h", message: "And?" }, { generation_id: "i", message: "And then?" }];
  const listed = run(answering, { type: "waiting", waiting });
  const messages = [question(), answer({ text: "Yes.", state: "complete" }), question({ id: "r", parent: ID }), answer({ id: "h" })];
  const known = run(listed, snapshot(messages));
  const idsOf = (/** @type {import("./actions.js").State} */ state) => state.waiting.map(({ generation_id: id }) => id);
  assert.deepEqual(idsOf(known), ["i"]);
  assert.deepEqual(idsOf(run(known, { type: "waiting", waiting })), ["i"], "the list was fetched before it");
});

test("events that a snapshot has already tell of the questions that wait", () => {
  const waiting = [{ generation_id: "h", message: "And?" }];
  const listed = run(answering, { type: "waiting", waiting });
  const queuedThere = { type: "queued", data: { generation_id: "h", question: "r", parent: ID, answer: "h" } };
  assert.deepEqual(run(listed, snapshot([question()], { events: [queuedThere] })).waiting, []);
  const told = run(listed, snapshot([question()], { events: [{ type: "removed", data: { generation_id: "h" } }] }));
  assert.equal(told.waitingChanges, listed.waitingChanges + 1);
});

// ---- Branches ----------------------------------------------------------------------------------------------------

const conversation = run(idle, snapshot([
  question(), answer({ text: "Half an", state: "complete", finish_reason: "length", model: "n" }),
  question({ id: "r", parent: ID }), answer({ id: "h", text: "Yes.", state: "complete" }),
]));

for (const [what, data, kept, text] of /** @type {[string, object, string[], string][]} */ ([
  ["another answer stands beside the one before", { question: "q", parent: null, answer: "i" }, ["q"], ""],
  ["an answer that goes on is the same message", { question: "q", parent: null, answer: ID }, ["q"], "Half an"],
  ["an edited question follows what the one before did", { question: "s", parent: ID, answer: "i" }, ["q", ID], ""],
  ["an edited first question follows nothing", { question: "s", parent: null, answer: "i" }, [], ""],
])) {
  test(what, () => {
    const state = run(conversation, event("queued", { generation_id: "i", position: 0, at: text.length, ...data }));
    assert.deepEqual([state.messages.map(({ id }) => id), state.live?.text, state.stale], [kept, text, true]);
    const more = run(state, event("delta", { generation_id: "i", at: text.length, text: " hour" }), event("done", { generation_id: "i" }));
    assert.deepEqual([more.messages.at(-1)?.id, last(more).text], [/** @type {any} */ (data).answer, `${text} hour`]);
  });
}

test("an answer that goes on is known by its message, and its events by their generation", () => {
  const active_generation = { generation_id: "i", state: "running", model: "m" };
  const state = run(idle, snapshot([question(), answer({ text: "Half an" })], { session: { ...session, active_generation } }));
  assert.equal(run(state, event("delta", { generation_id: "i", at: 7, text: " hour" })).live?.text, "Half an hour");
});

// ---- The server's account ----------------------------------------------------------------------------------------

test("a reset asks for the server's account and keeps what is on screen until it comes", () => {
  const state = run(answering, delta(0, "ab"), { type: "stale" });
  assert.deepEqual([state.stale, state.live?.text], [true, "ab"]);
  assert.deepEqual(run(state, snapshot([question(), answer({ text: "xyz" })])).live?.text, "xyz");
});

test("a snapshot knows the answer from its first event on", () => {
  const events = [queued(), started(), thinks(0, "Hm")].map((each) => /** @type {any} */ (each).event);
  const state = run(idle, snapshot([question(), answer({ thinking: "Hm" })], { events, replayed: true }));
  assert.deepEqual([state.live?.phase, state.live?.seenFromStart, state.live?.thinking.text], ["thinking", true, "Hm"]);
  assert.equal(last(state).thinking_seconds, null, "the page came too late to measure it");
});

test("a snapshot without an answer under way ends the one that this page knew", () => {
  const state = run(answering, delta(0, "ab"), snapshot([question(), answer({ text: "abc", state: "complete" })]));
  assert.equal(state.live, null);
  assert.equal(last(state).text, "abc");
});

test("a snapshot keeps the earlier pages that it overlaps, and no others", () => {
  const page = (/** @type {number} */ from) => [from, from + 1].map((number) => question({ id: `q${number}` }));
  const newest = run(idle, snapshot(page(3), { earlier: "q3" }));
  const first = run(newest, { type: "earlier", before: "q3", messages: page(1), earlier: "q1" });
  assert.deepEqual(first.messages.map(({ id }) => id), ["q1", "q2", "q3", "q4"]);
  const overlapping = run(first, snapshot(page(4), { earlier: "q4" }));
  assert.deepEqual([overlapping.messages.map(({ id }) => id), overlapping.earlier], [["q1", "q2", "q3", "q4", "q5"], "q1"]);
  const apart = run(first, snapshot(page(9), { earlier: "q9" }));
  assert.deepEqual([apart.messages.map(({ id }) => id), apart.earlier], [["q9", "q10"], "q9"]);
});

test("a page of earlier messages that comes twice is taken once", () => {
  const earlier = /** @type {import("./actions.js").Action} */ (
    { type: "earlier", before: "q", messages: [question({ id: "p" })], earlier: null });
  const state = run(idle, snapshot([question()], { earlier: "q" }), earlier);
  assert.equal(run(state, earlier), state);
});

test("a model event carries the version that the next switch needs, and an old one is passed over", () => {
  const state = run(idle, event("model", { model: "n", version: 2 }));
  assert.deepEqual([state.session?.model, state.etag], ["n", '"2"']);
  assert.equal(run(state, event("model", { model: "n", version: 2 })), state);
  assert.equal(run(initialState, event("model", { model: "n", version: 2 })), initialState);
});

test("an older model event, which a newer snapshot has overtaken, is passed over", () => {
  const state = run(idle, snapshot([question()], { session: { ...session, model: "o", version: 3 }, etag: '"3"' }));
  assert.equal(run(state, event("model", { model: "n", version: 2 })), state);
});

test("a snapshot brings a conversation back that had ended on this page", () => {
  const ended = run(answering, { type: "ended", reason: "Its time ran out." });
  const state = run(ended, snapshot([question(), answer({ text: "ab" })]), delta(2, "c"));
  assert.deepEqual([state.endReason, state.live?.text], [null, "abc"]);
});

test("only a wait in the queue can become a long one", () => {
  assert.ok(run(idle, queued(), { type: "waits" }).live?.waits);
  assert.equal(run(answering, delta(0, "a"), { type: "waits" }).live?.waits, false);
  assert.equal(run(idle, { type: "waits" }), idle);
});

test("a user's session has an id to name, a guest's and one that is over have not", () => {
  const owned = { ...idle, session: { ...session, anonymous: false } };
  assert.equal(ownedSessionId(owned), "s");
  assert.equal(ownedSessionId(idle), null);
  assert.equal(ownedSessionId(initialState), null);
  assert.equal(ownedSessionId(run(owned, { type: "ended", reason: "Its time ran out." })), null);
});

test("a state is never changed in place", () => {
  const freeze = (/** @type {any} */ value) => {
    if (typeof value === "object" && value) for (const each of Object.values(Object.freeze(value))) freeze(each);
    return value;
  };
  const actions = [
    queued(2), started(), thinks(0, "Hm"), delta(0, "ab"), event("fallback", { from: "m", to: "n", at: 1 }),
    event("resumed", { at: 0 }), delta(0, "c"), done(), snapshot([question(), answer()]), { type: "ended", reason: "" },
    { type: "clear" },
  ];
  freeze(actions);
  let state = freeze(idle);
  for (const action of actions) state = freeze(reduce(state, action));
});

// ---- All orders --------------------------------------------------------------------------------------------------

test("whatever is lost, doubled or out of order: what is shown is a beginning of the answer, or the state is stale", () => {
  const events = [started(), ...[..."abcdefgh"].map((letter, at) => delta(at, letter)), done()];
  let seed = 1;
  const random = () => { seed = (seed * 48_271) % 2_147_483_647; return seed / 2_147_483_647; };
  for (let round = 0; round < 500; round++) {
    const told = events.flatMap((each) => (random() < 0.2 ? [] : random() < 0.2 ? [each, each] : [each]));
    if (random() < 0.5) told.sort(() => random() - 0.5);
    let state = answering;
    for (const each of told) {
      state = reduce(state, each);
      const text = last(state).text;
      assert.ok("abcdefgh".startsWith(text) || last(state).role === "user", `${text} after ${JSON.stringify(told)}`);
    }
    if (!state.stale && state.live) assert.ok(told.every((each) => /** @type {any} */ (each).event.type !== "done"));
    const mended = reduce(state, snapshot([question(), answer({ text: "abcdefgh", state: "complete" })]));
    assert.deepEqual([last(mended).text, mended.live, mended.stale], ["abcdefgh", null, false]);
  }
});
