import assert from "node:assert/strict";
import { test } from "node:test";
import { isSessionLost, Problem } from "../../../web/static/js/api/problem.js";
import { errorMessage, isTransient } from "../../../web/static/js/api/error-messages.js";

/** @param {number} status @param {object} [details] @param {number | null} [retryAfter] */
const problem = (status, details, retryAfter) => new Problem({ status, ...details }, retryAfter);

for (const [error, words] of /** @type {[unknown, string][]} */ ([
  [new TypeError("x is undefined"), "Something went wrong in this page. Reload it and try again."],
  [problem(429, { limit: "messages" }, 12), "You have sent many messages in a short time. Try again in 12 s."],
  [problem(429, { limit: "unheard-of" }), "That was a lot in a short time. Try again in a moment."],
  [problem(429, { limit: "constructor" }, 240), "That was a lot in a short time. Try again in 4 min."],
  [problem(503, {}, 5), "The service is busy or restarting. Try again in 5 s."],
  [problem(500), "The server made a mistake. Try again in a moment."],
  [problem(409, { type: "/problems/idempotency-in-flight" }), "This is on its way already. Give it a moment."],
  [problem(409, { type: "/problems/too-many-waiting", detail: "10 questions wait in this session already." }),
    "Too many questions are waiting already. Take one back, or send this when one has been answered."],
  [problem(422, { detail: "title: too long" }), "title: too long"],
  [problem(418), "Something went wrong."],
])) {
  test(`${error} is told as: ${words}`, () => assert.equal(errorMessage(error), words));
}

test("only a limit and a server in trouble may pass", () => {
  assert.deepEqual([429, 500, 503, 0, 401, 409, 422].map((status) => isTransient(problem(status))),
    [true, true, true, false, false, false, false]);
  assert.equal(isTransient(new TypeError()), false);
});

test("a session is lost when the server does not know it, or who asks", () => {
  assert.ok(isSessionLost(problem(401)));
  assert.ok(isSessionLost(problem(403, { type: "/problems/not-owner" })));
  assert.ok(!isSessionLost(problem(403, { type: "/problems/cross-site" })));
  assert.ok(!isSessionLost(new TypeError()));
});
