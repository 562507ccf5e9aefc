import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "../../../web/static/js/stream/backoff.js";

test("the window of each wait doubles up to a bound, until a success", ({ mock }) => {
  mock.method(Math, "random", () => 0.5);
  const backoff = new Backoff();
  assert.deepEqual(Array.from({ length: 7 }, () => backoff.next()), [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
  backoff.reset();
  assert.equal(backoff.next(), 500);
});
