/** The session's events by their types, as web/schemas/responses.py (`Event`) names them. */

/**
 * @typedef {{generation_id: string}} OfGeneration
 * @typedef {OfGeneration & {at: number, text: string}} Piece what follows `at`, in code points
 * @typedef {OfGeneration & {at?: number, thinking?: number}} Rewind how much of the text and of the thinking stays
 * @typedef {OfGeneration & {model?: string, finish_reason?: string,
 *   problem?: import("../api/client.js").AnswerProblem}} End
 *
 * @typedef {OfGeneration & {position?: number, question?: string, parent?: string | null, answer?: string}} Beginning the
 *   messages that a generation answers and writes, and what the question follows
 *
 * @typedef {{type: "queued", data: Beginning}} QueuedEvent
 * @typedef {{type: "started", data: OfGeneration & {model: string}}} StartedEvent
 * @typedef {{type: "delta" | "thinking", data: Piece}} PieceEvent
 * @typedef {{type: "block", data: OfGeneration & {from: number, upto: number, html: string}}} BlockEvent
 * @typedef {{type: "resumed", data: Rewind}} ResumedEvent
 * @typedef {{type: "fallback", data: Rewind & {from: string, to: string, reason: string}}} FallbackEvent
 * @typedef {{type: "handover", data: Rewind & {from: string, to: string}}} HandoverEvent
 * @typedef {{type: "done" | "stopped" | "failed", data: End}} EndEvent
 * @typedef {QueuedEvent | StartedEvent | PieceEvent | BlockEvent | ResumedEvent | FallbackEvent | HandoverEvent | EndEvent} GenerationEvent
 *
 * @typedef {{type: "branch", data: {leaf: string | null}}} BranchEvent
 * @typedef {{type: "waiting" | "removed", data: OfGeneration}} WaitingEvent
 * @typedef {{type: "model", data: {model: string, version: number}}} ModelEvent
 * @typedef {{type: "session", data: Partial<import("../api/client.js").Session>}} SessionEvent
 * @typedef {{type: "reset", data: object}} ResetEvent
 * @typedef {{type: "expired", data: {reason?: string}}} ExpiredEvent
 *
 * @typedef {import("../conversation/immutable.js").Immutable<
 *   GenerationEvent | BranchEvent | WaitingEvent | ModelEvent | SessionEvent | ResetEvent | ExpiredEvent>} StreamEvent
 */

/**
 * The event in a frame. One of a type that this page doesn't know passes too: the reducer leaves it alone.
 * Throws a SyntaxError where the data is no JSON.
 * @param {import("./sse-parser.js").Frame} frame @returns {StreamEvent}
 */
export const parseEvent = ({ type, data }) => /** @type {StreamEvent} */ ({ type, data: JSON.parse(data) });
