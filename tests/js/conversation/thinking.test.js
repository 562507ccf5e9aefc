import assert from "node:assert/strict";
import { test } from "node:test";
import { isCut, keep, noThinking, pause, seconds, think, fromServer } from "../../../web/static/js/conversation/thinking.js";

/** @param {...[at: number, text: string, moment: number]} told */
const after = (...told) => told.reduce(
  (thinking, [at, text, moment]) => /** @type {typeof noThinking} */ (think(thinking, { at, text }, moment)), noThinking);

test("thinking replaces everything from its place on", () => {
  assert.equal(after([0, "abc", 0], [1, "x", 0]).text, "ax");
  assert.equal(after([0, "abc", 0], [0, "", 0]).text, "");
  assert.equal(after([0, "a👋🏽", 0], [2, "!", 0]).text, "a👋!");
});

test("thinking after a gap is refused", () => {
  assert.equal(think(after([0, "ab", 0]), { at: 3, text: "d" }, 0), null);
  assert.equal(keep(noThinking, 1), null);
});

test("stretches of thinking add up, and nothing is paused twice", () => {
  const first = pause(after([0, "a", 1_000]), 4_000);
  assert.equal(pause(first, 9_000), first);
  const second = pause(/** @type {typeof first} */ (think(first, { at: 1, text: "b" }, 50_000)), 54_000);
  assert.equal(seconds(second), 7);
});

test("a time that this page can't know is none", () => {
  assert.equal(seconds(pause(after([0, "a", NaN]), 4_000)), null);
  assert.equal(seconds(pause(after([0, "a", 5_000]), 4_000)), null, "a clock that goes back");
  assert.equal(seconds(noThinking), null);
});

test("the server's words are taken, and its time where this page has none", () => {
  assert.equal(seconds(fromServer(undefined, "a", 12)), 12);
  assert.equal(seconds(fromServer(pause(after([0, "a", 0]), 3_000), "abc", 12)), 3);
  assert.equal(seconds(fromServer(after([0, "a", NaN]), "abc", 12)), 12);
  assert.equal(fromServer(after([0, "a", 0]), "", 12), noThinking);
});

test("what is as long as servers keep may have been longer", () => {
  assert.ok(isCut("a".repeat(200_000)));
  assert.ok(!isCut("a".repeat(199_999)));
  assert.ok(!isCut("👋".repeat(100_000)), "UTF-16 units are not counted");
});
