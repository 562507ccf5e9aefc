import assert from "node:assert/strict";
import { test } from "node:test";
import { Problem } from "../../../web/static/js/api/problem.js";
import { Questions } from "../../../web/static/js/conversation/questions.js";
import { Store } from "../../../web/static/js/conversation/store.js";
import { queued, session } from "./actions.js";

/**
 * Questions over a real store, and what they do with the rest of the page.
 * @param {{ask?: () => unknown, stop?: () => unknown, settles?: boolean, signedIn?: boolean, known?: boolean,
 *   wanted?: string | null}} [given]
 *   `ask`, `stop`: the server's answers; `settles`: whether the session gets the chosen model; `known`: whether the page
 *   has a session; `wanted`: the instructions that the session is to have
 */
function page({ ask = () => ({}), stop = () => {}, settles = true, signedIn = false, known = true, wanted = null } = {}) {
  const store = new Store();
  store.dispatch({ type: "opened" });
  if (known) store.dispatch({ type: "session", session, etag: '"1"' });
  /** @type {unknown[][]} */ const calls = [];
  const called = (/** @type {string} */ name) => (/** @type {unknown[]} */ ...args) => { calls.push([name, ...args]); };
  const questions = new Questions(store, /** @type {any} */ ({
    api: {
      ask: async (/** @type {any} */ { path, body: { message, model, ...rest } }, /** @type {string} */ key) => {
        calls.push(["ask", message, model, key, { path, ...rest }]);
        return ask();
      },
      createSession: async (/** @type {string} */ model) => { calls.push(["createSession", model]); },
      stop: async () => stop(),
    },
    sync: { unsettled: false, refresh: called("refresh") },
    session: {
      opening: Promise.resolve(), createOwned: called("createOwned"), create: called("create"), settle: called("settle"),
      lost: called("lost"),
    },
    early: { any: wanted !== null },
    models: { settle: async () => settles, forNewSession: known ? null : "m", picked: "m" },
    notifications: { notify: called("notify"), showError: called("showError") },
    composer: { focus() {}, restore: called("restore") },
    waiting: { refresh: called("refreshWaiting") },
    stickToBottom: { toEnd() {} },
    signedIn: () => signedIn,
  }));
  /** @param {string} name */
  const callsOf = (name) => calls.filter(([each]) => each === name).map(([, ...args]) => args);
  return { store, questions, calls, callsOf };
}

/** @param {number} status @param {string} [slug] */
const failing = (status, slug) => () => { throw new Problem({ status, type: slug && `/problems/${slug}` }); };
/** @param {unknown[][]} asked */
const keys = (asked) => asked.map(([, , key]) => key);

test("a question is sent once, and then the server's account is fetched", async () => {
  const { store, questions, callsOf } = page();
  await questions.send("Why?");
  assert.deepEqual(callsOf("ask").map(([text, model]) => [text, model]), [["Why?", undefined]]);
  assert.equal(callsOf("refresh").length, 1);
  assert.deepEqual([store.state.sending, store.state.pending], [false, "Why?"]);
});

test("a question comes back into the message box when the session can't have the chosen model", async () => {
  const { store, questions, callsOf } = page({ settles: false });
  await questions.send("Why?");
  assert.deepEqual([callsOf("ask"), callsOf("restore")], [[], [["Why?"]]]);
  assert.deepEqual([store.state.sending, store.state.pending], [false, null]);
});

for (const [name, status, slug, same] of /** @type {[string, number, string | undefined, boolean][]} */ ([
  ["got no answer", 0, undefined, true],
  ["was answered by a proxy", 502, undefined, true],
  ["is on its way already", 409, "idempotency-in-flight", true],
  ["was refused by the server", 503, "store-unavailable", false],
  ["was refused by a limit", 429, "rate-limited", false],
])) {
  test(`a question that ${name} is sent again with ${same ? "the same" : "another"} key`, async () => {
    const { questions, callsOf } = page({ ask: failing(status, slug) });
    await questions.send("Why?");
    await questions.send("Why?");
    const [first, second] = keys(callsOf("ask"));
    assert.equal(first === second, same);
    assert.deepEqual(callsOf("restore"), [["Why?"], ["Why?"]]);
    assert.equal(callsOf("showError").length, 2);
  });
}

test("another question has a key of its own, and so has the first after it", async () => {
  const { questions, callsOf } = page({ ask: failing(0) });
  for (const text of ["Why?", "How?", "Why?"]) await questions.send(text);
  assert.equal(new Set(keys(callsOf("ask"))).size, 3);
});

test("a question that was answered at last has another key when it is asked again", async () => {
  const answers = [failing(0), () => ({}), failing(0), () => ({})];
  const { questions, callsOf } = page({ ask: () => answers.shift()?.() });
  for (let round = 0; round < 3; round++) await questions.send("Why?");
  const [unanswered, repeated, again] = keys(callsOf("ask"));
  assert.ok(unanswered === repeated && repeated !== again);
});

test("a question refused because another is being answered has the server's account fetched", async () => {
  const { questions, callsOf } = page({ ask: failing(409, "generation-in-progress") });
  await questions.send("Why?");
  assert.deepEqual([callsOf("refresh").length, callsOf("showError").length], [1, 1]);
});

test("a session that is lost on asking is the session's matter, not an error message", async () => {
  const { questions, callsOf } = page({ ask: failing(401, "session-expired") });
  await questions.send("Why?");
  assert.deepEqual([callsOf("lost").length, callsOf("showError").length], [1, 0]);
});

test("a guest without a session gets one, with the model that the picker shows", async () => {
  let asked = 0;
  const { questions, callsOf } = page({ known: false, ask: () => (asked++ === 0 ? failing(401, "session-required")() : {}) });
  await questions.send("Why?");
  assert.deepEqual(callsOf("createSession"), [["m"]]);
  const [first, second] = callsOf("ask");
  assert.deepEqual([first[1], second[1]], ["m", undefined], "the new session has the model already");
  assert.equal(first[2], second[2], "it is one question");
});

test("a user's first question makes a session of the user's first", async () => {
  const { questions, calls } = page({ known: false, signedIn: true });
  await questions.send("Why?");
  assert.deepEqual(calls.map(([name]) => name).filter((name) => /create|ask/.test(/** @type {string} */ (name))), ["createOwned", "ask"]);
});

test("a question waits for the end of an answer, and its words are given back when it may not", async () => {
  let full = false;
  const { store, questions, callsOf } = page({ ask: () => (full ? failing(409, "too-many-waiting")() : { state: "waiting" }) });
  store.dispatch(/** @type {any} */ (queued()));
  await questions.send("And?");
  assert.deepEqual([store.state.queueing, callsOf("refreshWaiting").length], ["And?", 1]);
  assert.deepEqual(callsOf("ask")[0][3], { path: "/chat", while_busy: "queue" });
  full = true;
  await questions.send("But?");
  assert.deepEqual([store.state.queueing, callsOf("restore")], [null, [["But?"]]]);
});

test("an edited question goes beside the one before, in place of what is being written", async () => {
  const { questions, callsOf } = page();
  assert.equal(await questions.edit({ role: "user", text: "Why?", state: "complete", id: "q", parent: null }, "How?"), true);
  assert.deepEqual(callsOf("ask")[0][3], { path: "/chat", parent: null, while_busy: "interrupt" });
});

test("a stop that comes after the end is no error, and the server is asked how things are", async () => {
  const { questions, callsOf } = page({ stop: failing(409, "no-generation") });
  await questions.stop();
  assert.deepEqual([callsOf("showError").length, callsOf("refresh").length], [0, 1]);
});

test("a stop that fails is told", async () => {
  const { questions, callsOf } = page({ stop: failing(503) });
  await questions.stop();
  assert.deepEqual([callsOf("showError").length, callsOf("refresh").length], [1, 1]);
});

for (const [name, signedIn, wanted, making] of /** @type {[string, boolean, string | null, string[]][]} */ ([
  ["a guest's first question makes the session", false, null, []],
  ["a guest's session that is to have instructions is made first", false, "Rhyme.", ["create"]],
  ["a user's session is made first", true, "Rhyme.", ["createOwned"]],
])) {
  test(`${name}, and is given what was wanted of it before it is asked`, async () => {
    const { questions, calls } = page({ known: false, signedIn, wanted });
    await questions.send("Why?");
    const names = calls.map(([each]) => each).filter((each) => /^(create|settle|ask)/.test(String(each)));
    assert.deepEqual(names, [...making, "settle", "ask"]);
  });
}
