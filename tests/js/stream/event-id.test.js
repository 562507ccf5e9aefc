import assert from "node:assert/strict";
import { test } from "node:test";
import { isCovered, parseId } from "../../../web/static/js/stream/event-id.js";

test("an id is an epoch and an offset, and the epoch may have dashes", () => {
  assert.deepEqual(parseId("a-b-12"), { epoch: "a-b", offset: 12 });
  assert.deepEqual(parseId(null), { epoch: "", offset: 0 });
});

for (const [id, cursor, covered] of /** @type {[string | null, string | null, boolean][]} */ ([
  ["e-1", "e-1", true],
  ["e-9", "e-10", true], // by number, not by letters
  ["e-11", "e-10", false],
  ["e-1", "f-10", false],
  ["", "e-10", false],
  ["e-1", null, false],
  [null, null, false],
  ["e-x", "e-10", false],
  ["e-1", "garbage", false],
])) {
  test(`${id} is ${covered ? "" : "not "}covered by ${cursor}`, () => assert.equal(isCovered(id, cursor), covered));
}
