/** Reads events again that lie before a cursor: those of the answer under way, or of the last one's end. */

import { parseId } from "./event-id.js";
import { parseEvent } from "./events.js";
import { readEvents } from "./sse-parser.js";

/** The server sends at once what it has: after this silence, in milliseconds, it has nothing. */
const SILENCE_TIMEOUT = 1_000;
/** Events before the cursor that are asked for otherwise: the end of the last answer is among them, and all of one that
 * has just begun. */
const EVENTS_BEFORE_CURSOR = 20;

/** @typedef {import("./events.js").StreamEvent} StreamEvent */

/**
 * Never fails: what can't be had is only missed.
 * @param {string} url @param {Record<string, string>} headers
 * @param {string} cursor where to stop
 * @param {boolean} live whether to begin with the first event of the answer that is being written
 * @returns {Promise<StreamEvent[]>}
 */
export async function replay(url, headers, cursor, live) {
  /** @type {StreamEvent[]} */ const events = [];
  const { epoch, offset } = parseId(cursor);
  const connection = new AbortController();
  const giveUp = () => connection.abort();
  let timer = setTimeout(giveUp, SILENCE_TIMEOUT);
  try {
    const after = live ? "" : `?last_event_id=${encodeURIComponent(`${epoch}-${Math.max(0, offset - EVENTS_BEFORE_CURSOR)}`)}`;
    const response = await fetch(url + after, { headers, cache: "no-store", signal: connection.signal });
    if (!response.ok || !response.body) return events;
    for await (const frame of readEvents(response.body)) {
      const at = parseId(frame.id);
      if (frame.type === "reset" || at.epoch !== epoch || at.offset > offset) break;
      events.push(parseEvent(frame));
      if (at.offset === offset) break;
      clearTimeout(timer);
      timer = setTimeout(giveUp, SILENCE_TIMEOUT);
    }
  } catch {
    // a break: then this is all
  } finally {
    clearTimeout(timer);
    connection.abort();
  }
  return events;
}
