/** The state of the conversation on screen: an action in, the next state out. No DOM, no network, no clock: an action
 * says when it happened, as `moment` in milliseconds. */

import { countCodePoints, dropCodePoints, takeCodePoints } from "./code-points.js";
import { keep, noThinking, pause, seconds, think, fromServer } from "./thinking.js";

/**
 * @typedef {import("../api/client.js").Message} Message
 * @typedef {import("../api/client.js").Session} Session
 * @typedef {import("../api/client.js").WaitingQuestion} WaitingQuestion
 * @typedef {import("../stream/events.js").StreamEvent} StreamEvent
 *
 * @typedef {import("./immutable.js").Immutable<FallbackFields>} Fallback
 * @typedef {import("./immutable.js").Immutable<LiveFields>} Live
 * @typedef {import("./immutable.js").Immutable<BlockFields>} Block
 * @typedef {import("./immutable.js").Immutable<StateFields>} State
 *
 * @typedef {object} FallbackFields Another model answers than the one that was chosen.
 * @property {string} from
 * @property {string} to
 * @property {string} reason what was wrong with `from`: one of core/llm/providers' kinds of errors, or nothing known
 * @property {boolean} midway whether there were words of `from` by then
 *
 * @typedef {object} LiveFields The answer that is coming.
 * @property {string} generation its id
 * @property {string} message the id of the message that it becomes, or goes on with
 * @property {"queued" | "connecting" | "thinking" | "answering"} phase
 * @property {number} position how many wait before it
 * @property {boolean} waits it has been in the queue for so long that the reader should know
 * @property {string} text
 * @property {number} length of the text in Unicode code points, the unit of a delta's `at`
 * @property {Block[]} blocks parts of the text that are finished, in order; there may be text between them
 * @property {import("./thinking.js").Thinking} thinking
 * @property {string | null} model
 * @property {Fallback | null} fallback
 * @property {boolean} seenFromStart its events are known from the first on, not only its text
 *
 * @typedef {{from: number, upto: number, html: string}} BlockFields a part of an answer's text, in code points, as HTML
 *
 * @typedef {object} EventDetails What events told of an answer, and the server does not store.
 * @property {Fallback | null} [fallback]
 * @property {readonly Block[]} [blocks] those that had come by its end
 * @property {import("../api/client.js").AnswerProblem} [problem] why it failed, of answers from before servers kept that
 *
 * @typedef {object} StateFields
 * @property {number} serial counts the conversations of this page, so that an answer about an earlier one is not taken
 *   for the present
 * @property {boolean} loading the server has not told yet which conversation this is
 * @property {Session | null} session
 * @property {string | null} etag
 * @property {Message[]} messages those that are complete, as far back as they have been fetched
 * @property {string | null} earlier the message before which the rest ends; null: this is all
 * @property {boolean} sending a request with a question is on its way to the server
 * @property {string | null} pending a question that the server's messages don't have yet
 * @property {WaitingQuestion[]} waiting the questions that wait for the end of the answer, in their order
 * @property {string | null} queueing one that is on its way there
 * @property {number} waitingChanges counts what has happened to them: each time, the list is to be fetched
 * @property {Live | null} live
 * @property {Record<string, EventDetails>} eventDetails by message id
 * @property {string | null} endReason why the conversation ended, if it did
 * @property {boolean} missing the address names a conversation that can't be had
 * @property {boolean} away the server could not be asked for the conversation, and is asked again
 * @property {boolean} stale this state can't be continued from events alone: fetch it
 *
 * @typedef {object} Snapshot The server's own account.
 * @property {"snapshot"} type
 * @property {Session} session
 * @property {string | null} etag
 * @property {Message[]} messages
 * @property {string | null} earlier
 * @property {StreamEvent[]} events on the way there, for what the messages do not say: those since our state or, where
 *   they are `replayed`, those since the answer's first
 * @property {boolean} replayed
 *
 * @typedef {{moment?: number} & (
 *   {type: "opening"} | {type: "opened"} | {type: "clear"} | {type: "missing"} | {type: "away"}
 *   | {type: "sending", text: string | null} | {type: "sent"} | {type: "unsent"}
 *   | {type: "session", session: Partial<Session>, etag: string | null}
 *   | Snapshot
 *   | {type: "earlier", before: string | null, messages: Message[], earlier: string | null}
 *   | {type: "event", event: StreamEvent}
 *   | {type: "waiting", waiting: WaitingQuestion[]}
 *   | {type: "waits"} | {type: "stale"} | {type: "ended", reason: string})} Action
 *
 * @typedef {Partial<Message> & {role: "user" | "assistant", text: string, state: string, live?: Live,
 *   blocks?: readonly Block[], eventDetails?: EventDetails}} Item
 *   what the page shows of a question or an answer
 */

/** @type {State} */
export const initialState = {
  serial: 0, loading: true, session: null, etag: null, messages: [], earlier: null, sending: false, pending: null,
  waiting: [], queueing: null, waitingChanges: 0, live: null, eventDetails: {}, endReason: null, missing: false, away: false,
  stale: false,
};

/** @param {string} generation @param {Partial<Live>} fields @returns {Live} */
const newLive = (generation, fields) => ({
  generation, message: generation, phase: "connecting", position: 0, waits: false, text: "", length: 0, blocks: [],
  thinking: noThinking, model: null, fallback: null, seenFromStart: false, ...fields,
});

/** @param {State} state @param {Action} action @returns {State} */
export function reduce(state, action) {
  switch (action.type) {
    case "opening": return { ...state, loading: true };
    case "opened": return { ...state, loading: false };
    case "sending": return { ...state, sending: true, [state.live ? "queueing" : "pending"]: action.text };
    case "sent": return { ...state, sending: false };
    case "unsent": return { ...state, sending: false, pending: null, queueing: null };
    case "waiting": return { ...state, waiting: stillWaiting(action.waiting, state.messages, state.live), queueing: null };
    case "session": return {
      ...state, session: /** @type {Session} */ ({ ...state.session, ...action.session }), etag: action.etag ?? state.etag,
    };
    case "snapshot": return snapshot(state, action);
    case "earlier": return state.earlier === action.before
      ? { ...state, messages: [...action.messages, ...state.messages], earlier: action.earlier } : state;
    case "waits": return state.live?.phase === "queued" ? { ...state, live: { ...state.live, waits: true } } : state;
    case "away": return state.away ? state : { ...state, away: true };
    case "stale": return { ...state, stale: true };
    case "ended": return { ...state, endReason: action.reason, live: null, stale: false };
    case "event": return state.endReason ? state : applyEvent(state, action.event, action.moment ?? NaN);
    // A request about the conversation before goes on all the same.
    case "clear": return { ...initialState, serial: state.serial + 1, loading: state.loading, sending: state.sending };
    case "missing": return { ...initialState, serial: state.serial + 1, loading: state.loading, missing: true };
    default: return state;
  }
}

/**
 * The server's own account replaces ours.
 * @param {State} state @param {Snapshot & {moment?: number}} action @returns {State}
 */
function snapshot(state, { session, etag, messages, earlier, events, replayed, moment = NaN }) {
  const last = messages.at(-1);
  const streaming = last?.state === "streaming" ? last : null;
  const older = olderThan(messages[0], state);
  // A replay of what this page has not just asked for comes too late to tell how long it took.
  const when = replayed && state.pending === null ? NaN : moment;
  const { live, eventDetails, waiting, waitingChanges } = events.reduce(
    (/** @type {State} */ before, event) => applyEvent(before, event, when),
    replayed ? { ...state, messages: [], live: null } : state,
  );
  const known = live?.message === streaming?.id ? live : null;
  return {
    ...state,
    eventDetails,
    session,
    etag,
    messages: [...older, ...(streaming ? messages.slice(0, -1) : messages)],
    earlier: older.length > 0 ? state.earlier : earlier,
    pending: state.sending ? state.pending : null,
    waiting: stillWaiting(waiting, messages),
    // What was told of them before the events that are known may have been missed.
    waitingChanges: waitingChanges + Number(replayed),
    live: streaming && {
      ...(known ?? newLive(session.active_generation?.generation_id ?? streaming.id, { message: streaming.id })),
      phase: phaseOf(known?.phase ?? "connecting", streaming.text, streaming.thinking ?? ""),
      text: streaming.text,
      length: countCodePoints(streaming.text),
      thinking: fromServer(known?.thinking, streaming.thinking ?? "", streaming.thinking_seconds),
      model: known?.fallback?.to ?? streaming.model ?? null,
    },
    endReason: null,
    missing: false,
    away: false,
    stale: false,
  };
}

/**
 * Those whose turn has not come: the list may be older than the conversation that it was fetched for. An answer to one
 * that has waited has its id.
 * @param {readonly WaitingQuestion[]} waiting @param {readonly Partial<Message>[]} messages @param {Live | null} [live]
 */
const stillWaiting = (waiting, messages, live) =>
  waiting.filter(({ generation_id: id }) => live?.generation !== id && !messages.some((message) => message.id === id));

/**
 * What this page has fetched of the pages before the newest one, which begins with `first`.
 * @param {Message | undefined} first @param {State} state
 */
function olderThan(first, { messages }) {
  return messages.slice(0, Math.max(0, messages.findIndex(({ id }) => id === first?.id)));
}

/**
 * One that has words is not only waiting for them.
 * @param {Live["phase"]} phase @param {string} text @param {string} thinking @returns {Live["phase"]}
 */
const phaseOf = (phase, text, thinking) => {
  if (!text && !thinking) return phase === "thinking" ? "connecting" : phase;
  return phase === "thinking" || !text ? "thinking" : "answering";
};

/** @param {State} state @param {StreamEvent} event @param {number} moment @returns {State} */
function applyEvent(state, event, moment) {
  // A log's cursor may lie before the end of an answer that is already here.
  if ("generation_id" in event.data && isComplete(state, event.data.generation_id)) return state;
  switch (event.type) {
    case "model": {
      const { model, version } = event.data;
      if (!state.session || state.session.version >= version) return state;
      // A session's ETag is its version: with it, this tab may switch at once after another one did.
      return { ...state, session: { ...state.session, model, version }, etag: `"${version}"` };
    }
    case "branch": return { ...state, stale: true };
    case "waiting":
    case "removed": return { ...state, waitingChanges: state.waitingChanges + 1 };
    case "queued": return begin(state, event.data, { phase: "queued", position: event.data.position ?? 0 });
    case "started": return begin(state, event.data, { phase: "connecting", position: 0, model: event.data.model });
    case "delta":
    case "thinking":
    case "block":
    case "fallback":
    case "handover":
    case "resumed": {
      const { live } = state;
      // News of an answer that this page doesn't know: only the server can tell what it is.
      if (!live || live.generation !== event.data.generation_id) return { ...state, stale: true };
      return applyToLive(state, live, event, moment);
    }
    case "done": return finish(state, event.data, moment, { state: "complete", model: event.data.model });
    case "stopped": return finish(state, event.data, moment, { state: "stopped" });
    case "failed": return finish(state, event.data, moment, { state: "failed", problem: event.data.problem });
    default: return state;
  }
}

/** Asked for each token: the answer that is coming is not looked for among all others. @param {State} state
 * @param {string} generation */
const isComplete = ({ live, messages }, generation) => live?.generation !== generation
  && messages.some(({ id }) => id === generation);

/**
 * @param {State} state @param {Live} live
 * @param {Extract<StreamEvent, {type: "delta" | "thinking" | "block" | "resumed" | "fallback" | "handover"}>} event @param {number} moment
 * @returns {State}
 */
function applyToLive(state, live, { type, data }, moment) {
  switch (type) {
    case "delta": return delta(state, live, data, moment);
    case "thinking": return thinkingDelta(state, live, data, moment);
    case "block": return { ...state, live: { ...live, blocks: withBlock(live, data) } };
    case "resumed": return rewind(state, live, data);
    case "fallback": return rewind(state, { ...live, model: data.to, fallback: fallback(live, data) }, data);
    // As somebody wanted it: the one before has not failed.
    case "handover": return rewind(state, { ...live, model: data.to, fallback: null }, data);
  }
}

/**
 * An answer is on its way. One that this page has not seen asked was asked in another tab, and only the
 * server knows the question.
 * @param {State} state @param {import("../stream/events.js").Beginning} data @param {Partial<Live>} news @returns {State}
 */
function begin(state, data, news) {
  const { live } = state;
  const { generation_id: generation, answer = generation } = data;
  if (live && live.generation === generation) {
    const phase = phaseOf(news.phase ?? live.phase, live.text, live.thinking.text);
    return { ...state, live: { ...live, ...news, phase } };
  }
  const begun = state.messages.find(({ id }) => id === answer);
  const model = begun?.model ?? state.session?.model ?? null;
  const fields = { model, message: answer, seenFromStart: news.phase === "queued", ...news, ...(begun && partsOf(begun)) };
  return {
    ...state,
    messages: precedingMessages(data, state.messages),
    waiting: state.waiting.filter(({ generation_id: id }) => id !== generation),
    live: newLive(generation, fields),
    stale: true,
  };
}

/** The part of the branch on screen that an answer follows: all of it where that is not known.
 * @param {import("../stream/events.js").Beginning} data @param {State["messages"]} messages */
function precedingMessages({ question, parent, answer }, messages) {
  for (const [id, kept] of /** @type {const} */ ([[answer, 0], [question, 1], [parent, 1]])) {
    const index = messages.findIndex((message) => message.id === id);
    if (index >= 0) return messages.slice(0, index + kept);
  }
  return parent === null ? [] : messages;
}

/** What there is of an answer that is gone on with. @param {Message} message @returns {Partial<Live>} */
const partsOf = ({ text, thinking, thinking_seconds: spent }) => ({
  text, phase: "answering", length: countCodePoints(text), thinking: fromServer(undefined, thinking ?? "", spent),
});

/** @param {State} state @param {Live} live @param {{at: number, text: string}} data @param {number} moment @returns {State} */
function delta(state, live, { at, text }, moment) {
  if (at > live.length) return { ...state, stale: true };
  const fresh = dropCodePoints(text, live.length - at);
  if (!fresh) return state;
  const length = live.length + countCodePoints(fresh);
  const thinking = pause(live.thinking, moment);
  return { ...state, live: { ...live, phase: "answering", text: live.text + fresh, length, thinking } };
}

/** @param {State} state @param {Live} live @param {{at: number, text: string}} data @param {number} moment @returns {State} */
function thinkingDelta(state, live, data, moment) {
  const thinking = think(live.thinking, data, moment);
  return thinking ? { ...state, live: { ...live, phase: "thinking", thinking } } : { ...state, stale: true };
}

/**
 * A worker that takes over tells the blocks again, and may tell several as one. One that overlaps others otherwise is left
 * out, as is one of a text that is not here.
 * @param {Live} live @param {Block} block @returns {readonly Block[]}
 */
function withBlock({ blocks, length }, { from, upto, html }) {
  const kept = blocks.filter((each) => each.upto <= from);
  const within = blocks.slice(kept.length).every((each) => from <= each.from && each.upto <= upto);
  return within && upto <= length ? [...kept, { from, upto, html }] : blocks;
}

/**
 * Another worker or model goes on. What this page has beyond `at`, or of the thinking beyond `kept`, is not part of
 * the answer.
 * @param {State} state @param {Live} live @param {{at?: number, thinking?: number}} data @returns {State}
 */
function rewind(state, live, { at = live.length, thinking: kept = live.thinking.length }) {
  const thinking = keep(live.thinking, kept);
  if (at > live.length || !thinking) return { ...state, live, stale: true };
  const text = at < live.length ? takeCodePoints(live.text, at) : live.text;
  const blocks = at < live.length ? live.blocks.filter(({ upto }) => upto <= at) : live.blocks;
  return { ...state, live: { ...live, text, length: at, blocks, thinking, phase: phaseOf(live.phase, text, thinking.text) } };
}

/** Of several in a row the reader wants to know the first reason and the last model; of the same model asked again,
 * nothing. @param {Live} live @param {{from: string, to: string, reason: string}} data
 * @returns {Fallback | null} */
const fallback = ({ fallback: before, length }, { from, to, reason }) => {
  if (before || from === to) return before && { ...before, to };
  return { from, to, reason, midway: length > 0 };
};

/**
 * @param {State} state @param {import("../stream/events.js").End} data @param {number} moment
 * @param {Partial<Message>} fields @returns {State}
 */
function finish(state, data, moment, fields) {
  const { generation_id: id, model, problem, finish_reason } = data;
  const live = state.live?.generation === id ? state.live : null;
  const details = { fallback: silentFallback(live, model) ?? live?.fallback, blocks: live?.blocks, problem };
  const eventDetails = { ...state.eventDetails, [live?.message ?? id]: details };
  // Stale either way: the server has the answer as HTML, or an answer that this page never saw coming.
  if (!live) return { ...state, eventDetails, stale: true };
  const thinking_seconds = seconds(pause(live.thinking, moment));
  /** @type {Message} */
  const message = { ...contentOf(live), thinking_seconds, finish_reason, ...fields };
  return { ...state, eventDetails, live: null, stale: true, messages: [...state.messages, message] };
}

/** A model that rests after a failure is passed over without an event. @param {Live | null} live
 * @param {string | undefined} model that has answered @returns {Fallback | null} */
const silentFallback = (live, model) => (live?.seenFromStart && model && live.model && model !== live.model
  ? { from: live.model, to: model, reason: "resting", midway: false } : null);

/** What the page shows, in order. @param {State} state @returns {Item[]} */
export function items(state) {
  /** @type {Item[]} */
  const shown = state.messages.map((message) => {
    const details = state.eventDetails[message.id];
    return {
      ...message, state: message.state ?? "complete", model: details?.fallback?.to ?? message.model, blocks: details?.blocks,
      eventDetails: details,
    };
  });
  if (state.pending !== null) shown.push({ role: "user", text: state.pending, state: "pending" });
  const { live } = state;
  if (live) shown.push({ ...contentOf(live), state: "streaming", live, blocks: live.blocks, thinking_seconds: seconds(live.thinking) });
  return shown;
}

/** @param {Live} live */
const contentOf = ({ message: id, text, model, thinking }) =>
  ({ id, role: /** @type {const} */ ("assistant"), text, model, thinking: thinking.text });

/** Whether a question can't be sent now, because one is on its way or being answered. @param {State} state */
export const isBusy = ({ sending, pending, live }) => sending || pending !== null || live !== null;

/** The id of the user's session on screen; null: it is a guest's, has ended, or there is none. @param {State} state */
export const ownedSessionId = ({ session, endReason }) => (session && !session.anonymous && !endReason ? session.session_id : null);
