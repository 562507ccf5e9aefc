import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelChoice } from "../../../web/static/js/sessions/model-choice.js";

/** A choice over a session whose switches are carried out by `finish`, one after another. */
function played() {
  const world = {
    session: /** @type {any} */ ({ model: "a" }), asking: false, switched: /** @type {string[]} */ ([]),
    finish: (/** @type {boolean} */ _done) => {},
  };
  const choice = new ModelChoice({
    session: () => world.session,
    asking: () => world.asking,
    switch(model) {
      world.switched.push(model);
      return new Promise((resolve) => {
        world.finish = (done) => {
          if (done) world.session = { model };
          resolve(done);
        };
      });
    },
    changed() {},
  });
  return { world, choice };
}

/** Let what has been resolved go on. */
const settled = () => new Promise((resolve) => setTimeout(resolve));

test("one switch at a time, and of the choices made meanwhile the last one counts", async () => {
  const { world, choice } = played();
  for (const model of ["b", "c", "d"]) choice.choose(model);
  assert.deepEqual([world.switched, choice.shown], [["b"], "d"]);
  world.finish(true);
  await settled();
  assert.deepEqual(world.switched, ["b", "d"]);
  world.finish(true);
  assert.ok(await choice.settle());
  assert.deepEqual([world.session.model, choice.shown], ["d", null]);
});

test("a switch that fails leaves the session's model, and says so", async () => {
  const { world, choice } = played();
  choice.choose("b");
  const done = choice.settle();
  world.finish(false);
  assert.equal(await done, false);
  assert.equal(choice.shown, null);
});

test("a choice made while a question is on its way is for the next one", async () => {
  const { world, choice } = played();
  world.asking = true;
  choice.choose("b");
  await settled();
  assert.deepEqual([world.switched, choice.shown], [[], "b"]);
  world.asking = false;
  void choice.settle();
  assert.deepEqual(world.switched, ["b"]);
});

test("a choice without a session waits for one", async () => {
  const { world, choice } = played();
  world.session = null;
  choice.choose("b");
  assert.ok(await choice.settle());
  assert.deepEqual([world.switched, choice.shown], [[], "b"]);
  world.session = { model: "b" };
  assert.ok(await choice.settle());
  assert.deepEqual([world.switched, choice.shown], [[], null], "it has the model already");
});

test("a choice for a conversation that was left is dropped", async () => {
  const { world, choice } = played();
  world.asking = true;
  choice.choose("b");
  choice.drop();
  world.asking = false;
  assert.ok(await choice.settle());
  assert.deepEqual([world.switched, choice.shown], [[], null]);
});
