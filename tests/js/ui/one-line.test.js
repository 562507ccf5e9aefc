import assert from "node:assert/strict";
import { test } from "node:test";
import { oneLine } from "../../../web/static/js/ui/one-line.js";

test("a name has no tabs, ends of lines, control characters, or anything that turns its direction", () => {
  assert.equal(oneLine("\tone\u2028two\u0007\u202etxt.exe\u2066 \r\n"), "one two txt.exe");
  assert.equal(oneLine("\u200f\t"), "");
});
