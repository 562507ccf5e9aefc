/** Short words for the actions and events that the tests feed to the reducer. */

import { initialState, reduce } from "../../../web/static/js/conversation/reducer.js";

/**
 * @typedef {import("../../../web/static/js/conversation/reducer.js").State} State
 * @typedef {import("../../../web/static/js/conversation/reducer.js").Action} Action
 */

export const ID = "g";

export const session = {
  session_id: "s", anonymous: true, model: "m", version: 1,
  created_at: "2026-01-01T00:00:00Z", expires_at: "2099-01-01T00:00:00Z",
};

/** A state with a session and nothing said. @type {State} */
export const idle = { ...initialState, loading: false, session, etag: '"1"' };

/** @param {State} state @param {...Action} actions */
export const run = (state, ...actions) => actions.reduce(reduce, state);

/** @param {string} type @param {object} [data] @param {number} [moment] @returns {Action} */
export const event = (type, data = {}, moment = 0) =>
  (/** @type {Action} */ ({ type: "event", event: { type, data: { generation_id: ID, ...data } }, moment }));

export const queued = (position = 0) => event("queued", { position });
export const started = (model = "m") => event("started", { model, attempt: 1 });
/** @param {number} at @param {string} text @param {number} [moment] */
export const delta = (at, text, moment) => event("delta", { at, text }, moment);
/** @param {number} at @param {string} text @param {number} [moment] */
export const thinks = (at, text, moment) => event("thinking", { at, text }, moment);
/** @param {number} from @param {number} upto @param {string} html */
export const block = (from, upto, html) => event("block", { from, upto, html });
export const done = () => event("done", { model: "m", finish_reason: "stop" });

/** @param {object} [fields] @returns {any} */
export const question = (fields) => ({ id: "q", role: "user", text: "Why?", state: "complete", ...fields });
/** @param {object} [fields] @returns {any} */
export const answer = (fields) => ({ id: ID, role: "assistant", text: "", model: "m", state: "streaming", ...fields });

/** @param {any[]} messages @param {object} [fields] @returns {any} */
export const snapshot = (messages, fields) => (
  { type: "snapshot", session, etag: '"1"', messages, earlier: null, events: [], replayed: false, moment: 0, ...fields });

/** A state in which an answer is being written, and which needs nothing from the server. */
export const answering = run(idle, snapshot([question(), answer()]));
