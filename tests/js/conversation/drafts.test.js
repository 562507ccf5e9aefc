import assert from "node:assert/strict";
import { test } from "node:test";

import { Drafts } from "../../../web/static/js/conversation/drafts.js";
import { messageOf } from "../../../web/static/js/conversation/message-text.js";

/** A browser's storage. @param {Map<string, string>} kept @returns {import("../../../web/static/js/conversation/drafts.js").Drawer} */
const drawerOf = (kept) => ({
  getItem: (key) => kept.get(key) ?? null,
  setItem: (key, value) => void kept.set(key, value),
  removeItem: (key) => void kept.delete(key),
  key: (index) => [...kept.keys()][index] ?? null,
  get length() { return kept.size; },
});

test("each conversation has its own draft, and the latest twenty are kept", () => {
  /** @type {Map<string, string>} */ const kept = new Map([["another page's", "own"]]);
  let moment = 0;
  const drafts = new Drafts(() => drawerOf(kept), () => moment++);
  for (let number = 0; number < 25; number++) drafts.write(`session-${number}`, `draft ${number}`);
  drafts.write(null, "new");
  assert.equal(drafts.read("session-5"), "");
  assert.equal(drafts.read("session-24"), "draft 24");
  assert.equal(drafts.read(null), "new");
  assert.equal(kept.size, 21);
  drafts.write("session-24", "  ");
  assert.equal(drafts.read("session-24"), "");
  drafts.write(null, "x".repeat(50_000));
  assert.equal(drafts.read(null), "");
  drafts.clear();
  assert.deepEqual([...kept], [["another page's", "own"]]);
});

test("a browser that keeps nothing, or something else, has no drafts", () => {
  const none = new Drafts(() => { throw new Error("storage is off"); }, () => 0);
  none.write("session", "words");
  assert.equal(none.read("session"), "");
  const odd = new Drafts(() => drawerOf(new Map([["switchboard-draft:a", "{"], ["switchboard-draft:b", '{"text": 1}']])), () => 0);
  assert.equal(odd.read("a") + odd.read("b"), "");
});

test("a message keeps its first line's indentation, and loses the blank lines around it", () => {
  assert.equal(messageOf("\n  \n    if x:\n        y()\n\n "), "    if x:\n        y()");
  assert.equal(messageOf(" \n\t"), "");
  assert.equal(messageOf("  one"), "  one");
});
