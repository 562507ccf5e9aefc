/** Mistakes that `make lint` must find in the page's modules: tsc fails where one of these is no error. Never run. */

import { Composer } from "../../web/static/js/conversation/composer.js";
import { Store } from "../../web/static/js/conversation/store.js";
import { byId } from "../../web/static/js/ui/dom.js";

const { state } = new Store();

// A state is read only, and so is all that it holds.
// @ts-expect-error
state.endReason = "x";
// @ts-expect-error
state.messages.push({ id: "x", role: "user", text: "x" });
// @ts-expect-error
if (state.session) state.session.model = "x";
// @ts-expect-error
if (state.live) state.live.thinking.text = "x";

/** An event has the data of its type. @param {import("../../web/static/js/stream/events.js").StreamEvent} event */
export function readWrongly(event) {
  // @ts-expect-error
  if (event.type === "model") return event.data.modle;
  // @ts-expect-error
  if (event.type === "failed") return event.data.problem?.raison;
  // @ts-expect-error
  if (event.type === "queued") return event.data.text;
  // @ts-expect-error
  return event.type === "dleta";
}

/** So has an active generation. @param {import("../../web/static/js/api/client.js").Session} session */
// @ts-expect-error
export const generationOf = (session) => session.active_generation?.id;

// An element is of the kind that is asked for.
new Composer({
  form: byId("composer", HTMLFormElement), field: byId("message", HTMLTextAreaElement), count: byId("count"),
  // @ts-expect-error
  send: byId("log"),
  // @ts-expect-error
  stop: byId("message", HTMLTextAreaElement),
}, { send() {}, async stop() {}, wait() {} });
