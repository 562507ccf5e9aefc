import assert from "node:assert/strict";
import { test } from "node:test";
import { applyUserEvent } from "../../../web/static/js/sessions/listed-sessions.js";

/** @param {string} session_id @param {object} [fields] @returns {any} */
const listed = (session_id, fields) => (
  { session_id, title: session_id, last_active_at: "2026-01-01T00:00:00Z", answering: false, unread: false, ...fields });
/** @param {string} type @param {object} [data] */
const event = (type, data) => /** @type {any} */ ({ type, data: { session_id: "b", ...data } });
const two = [listed("a", { last_active_at: "2026-01-02T00:00:00Z" }), listed("b")];

test("a conversation that is being answered comes first, and is then new until it is read", () => {
  const asked = applyUserEvent(two, event("answering", { title: "B", last_active_at: "2026-01-03T00:00:00Z" }));
  assert.deepEqual(asked?.map(({ title, answering }) => [title, answering]), [["B", true], ["a", false]]);
  const answered = applyUserEvent(asked ?? [], event("answered", { state: "complete" }));
  assert.deepEqual(answered?.map(({ answering, unread }) => [answering, unread]), [[false, true], [false, false]]);
  assert.equal(applyUserEvent(answered ?? [], event("read"))?.[0].unread, false);
  assert.equal(applyUserEvent(asked ?? [], event("answered", { state: "stopped" }))?.[0].unread, false);
});

test("one may be renamed or deleted, and what is not known is asked", () => {
  assert.equal(applyUserEvent(two, event("changed", { title: "New" }))?.[1].title, "New");
  assert.deepEqual(applyUserEvent(two, event("deleted")), [two[0]]);
  assert.equal(applyUserEvent(two, event("model")), two);
  for (const type of ["reset", "created"]) assert.equal(applyUserEvent(two, event(type)), null);
  assert.equal(applyUserEvent([], event("answering", { title: null, last_active_at: "" })), null);
});
