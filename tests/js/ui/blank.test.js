import assert from "node:assert/strict";
import { test } from "node:test";
import { messageOf } from "../../../web/static/js/conversation/message-text.js";
import { isBlank } from "../../../web/static/js/ui/blank.js";
import { oneLine } from "../../../web/static/js/ui/one-line.js";

const INVISIBLE = [
  "", " \n\t", "\u00a0\u3000", "\u200b", "\ufeff\u2060", "\u00ad\u200d", "\u2800", "\u3164\uffa0", "\u034f\ufe0f\u{e0100}", "\u{e0041}",
];

test("what is not drawn is blank, and what is drawn is not", () => {
  for (const text of INVISIBLE) assert.ok(isBlank(text), JSON.stringify(text));
  for (const text of [".", " x", "\u200b。", "👩‍💻", "\ue000", "\ufffd", "ـ"]) assert.ok(!isBlank(text), text);
});

test("a message or a name of which nothing can be seen is none", () => {
  for (const text of INVISIBLE) assert.deepEqual([messageOf(text), oneLine(text)], ["", ""]);
  assert.equal(messageOf("\u200bWhy?\n"), "\u200bWhy?");
});
