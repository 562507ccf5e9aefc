// @ts-check
/** The conversation as a value: what happened in, the next state out. No DOM, no network. */

/**
 * @typedef {import("./api.js").Message} Message
 * @typedef {import("./api.js").Session} Session
 *
 * @typedef {object} Live The answer that is coming.
 * @property {string} generation its id, which is also that of the message it becomes
 * @property {"queued" | "connecting" | "answering"} phase
 * @property {number} position how many wait before it
 * @property {string} text
 * @property {number} length of the text in Unicode code points, the unit of a delta's `at`
 * @property {string | null} model
 * @property {string} note what the reader should know about how it is coming
 *
 * @typedef {object} State
 * @property {Session | null} session
 * @property {string | null} etag
 * @property {Message[]} messages those that are complete
 * @property {string | null} pending a question on its way to the server
 * @property {Live | null} live
 * @property {Record<string, string>} reasons why answers failed, by message id; told once, and not stored
 * @property {string | null} over why the conversation ended, if it did
 * @property {boolean} stale this state can't be continued from events alone: fetch it
 *
 * @typedef {{type: string, [key: string]: any}} Action
 */

/** @type {State} */
export const nothing = {
  session: null, etag: null, messages: [], pending: null, live: null, reasons: {}, over: null, stale: false,
};

/** Not `text.length`: that counts UTF-16 units. @param {string} text */
export const codePoints = (text) => {
  let count = 0;
  for (const _ of text) count++;
  return count;
};

/** @param {string} generation @param {Partial<Live>} fields @returns {Live} */
const newLive = (generation, fields) => ({
  generation, phase: "connecting", position: 0, text: "", length: 0, model: null, note: "", ...fields,
});

/** @param {State} state @param {Action} action @returns {State} */
export function reduce(state, action) {
  switch (action.type) {
    case "sending": return { ...state, pending: action.text };
    case "unsent": return { ...state, pending: null };
    case "session": return { ...state, session: { ...state.session, ...action.session }, etag: action.etag ?? state.etag };
    case "snapshot": return snapshot(state, action);
    case "stale": return { ...state, stale: true };
    case "over": return { ...state, over: action.reason, live: null, stale: false };
    case "event": return state.over ? state : event(state, action.event, action.data);
    case "clear": return nothing;
    default: return state;
  }
}

/** The server's own account replaces ours. @param {State} state @param {Action} action @returns {State} */
function snapshot(state, { session, etag, messages, sending }) {
  const last = messages.at(-1);
  const streaming = last?.state === "streaming" ? last : null;
  const known = state.live?.generation === streaming?.id ? state.live : null;
  return {
    ...state,
    session,
    etag,
    messages: streaming ? messages.slice(0, -1) : messages,
    pending: sending ? state.pending : null,
    live: streaming && {
      ...(known ?? newLive(streaming.id, { phase: "queued" })),
      ...(streaming.text && { phase: "answering" }),
      text: streaming.text,
      length: codePoints(streaming.text),
      model: streaming.model,
    },
    over: null,
    stale: false,
  };
}

/** @param {State} state @param {string} type @param {any} data @returns {State} */
function event(state, type, data) {
  // A log's cursor may lie before the end of an answer that is already here.
  if (data.generation_id && state.messages.some(({ id }) => id === data.generation_id)) return state;
  switch (type) {
    case "model":
      if (!state.session || state.session.version === data.version) return state;
      // A session's ETag is its version: with it, this tab may switch at once after another one did.
      return { ...state, session: { ...state.session, model: data.model, version: data.version }, etag: `"${data.version}"` };
    case "queued": return begun(state, data, { phase: "queued", position: data.position ?? 0 });
    case "started": return begun(state, data, { phase: "connecting", position: 0, model: data.model });
    case "delta":
    case "fallback":
    case "resumed": {
      const { live } = state;
      // News of an answer that this page doesn't know: only the server can tell what it is.
      if (!live || live.generation !== data.generation_id) return { ...state, stale: true };
      if (type === "delta") return delta(state, live, data);
      if (type === "resumed") return resumed(state, live, data);
      return { ...state, live: { ...live, model: data.to, note: "fallback" } };
    }
    case "done": return finished(state, data, { state: "complete", model: data.model });
    case "stopped": return finished(state, data, { state: "stopped" });
    case "failed": return finished(state, data, { state: "failed" });
    default: return state;
  }
}

/**
 * An answer is on its way. One that this page has not seen asked was asked in another tab, and only the
 * server knows the question.
 * @param {State} state @param {{generation_id: string}} data @param {Partial<Live>} news @returns {State}
 */
function begun(state, { generation_id: generation }, news) {
  if (state.live?.generation === generation) {
    return { ...state, live: { ...state.live, ...news, ...(state.live.text && { phase: "answering" }) } };
  }
  return { ...state, live: newLive(generation, news), stale: true };
}

/** @param {State} state @param {Live} live @param {{at: number, text: string}} data @returns {State} */
function delta(state, live, { at, text }) {
  if (at > live.length) return { ...state, stale: true };
  const fresh = [...text].slice(live.length - at);
  if (fresh.length === 0) return state;
  return {
    ...state,
    live: { ...live, phase: "answering", text: live.text + fresh.join(""), length: live.length + fresh.length },
  };
}

/**
 * Another worker goes on from `at`; what this page had beyond it is not part of the answer.
 * @param {State} state @param {Live} live @param {{at: number}} data @returns {State}
 */
function resumed(state, live, { at }) {
  if (at > live.length) return { ...state, stale: true };
  return { ...state, live: { ...live, text: [...live.text].slice(0, at).join(""), length: at, note: "resumed" } };
}

/** @param {State} state @param {any} data @param {Partial<Message>} fields @returns {State} */
function finished(state, data, fields) {
  const { live, messages } = state;
  const reasons = data.problem
    ? { ...state.reasons, [data.generation_id]: data.problem.detail || data.problem.title }
    : state.reasons;
  // Stale either way: the server has the answer as HTML, or an answer that this page never saw coming.
  if (!live || live.generation !== data.generation_id) return { ...state, reasons, stale: true };
  /** @type {Message} */
  const message = { id: live.generation, role: "assistant", text: live.text, model: live.model, ...fields };
  return { ...state, reasons, live: null, stale: true, messages: [...messages, message] };
}

/**
 * What the page shows, in order.
 * @param {State} state
 * @returns {{role: "user" | "assistant", text: string, html?: string | null, model?: string | null,
 *   state: string, live?: Live, reason?: string}[]}
 */
export function items(state) {
  /** @type {ReturnType<typeof items>} */
  const shown = state.messages.map((message) => ({ ...message, state: message.state ?? "complete", reason: state.reasons[message.id] }));
  if (state.pending !== null) shown.push({ role: "user", text: state.pending, state: "pending" });
  if (state.live) {
    shown.push({ role: "assistant", text: state.live.text, model: state.live.model, state: "streaming", live: state.live });
  }
  return shown;
}

/** The last question, for "Try again". @param {State} state */
export const lastQuestion = (state) => state.messages.findLast((message) => message.role === "user")?.text ?? "";
