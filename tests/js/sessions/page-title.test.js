import assert from "node:assert/strict";
import { test } from "node:test";

import { shortTitle } from "../../../web/static/js/sessions/page-title.js";

test("a title is one line of at most sixty characters, cut between two of them", () => {
  assert.equal(shortTitle("  Why is\n the sky\tblue? "), "Why is the sky blue?");
  assert.equal(shortTitle("😀".repeat(80)), `${"😀".repeat(59)}…`);
  assert.equal(shortTitle("x".repeat(60)), "x".repeat(60));
});
