/** What the events have told so far: of the answer that is being written, or at the end of the last one. */

import { parseId } from "./event-id.js";
import { readEvents } from "./sse-parser.js";

/** The server tells at once what it has; after this silence it has nothing. */
const SILENCE = 1_000;
/** How many events before the cursor are asked for otherwise: the end of the last answer is among them, and all of
 * one that has just begun. */
const BACK = 20;

/**
 * Never fails: what can't be had is only missed.
 * @param {string} url @param {Record<string, string>} headers
 * @param {string} cursor where to stop
 * @param {boolean} live whether to begin with the first event of the answer that is being written
 * @returns {Promise<{type: string, data: any}[]>}
 */
export async function replay(url, headers, cursor, live) {
  /** @type {{type: string, data: any}[]} */ const told = [];
  const { epoch, offset } = parseId(cursor);
  const connection = new AbortController();
  const giveUp = () => connection.abort();
  let timer = setTimeout(giveUp, SILENCE);
  try {
    const after = live ? "" : `?last_event_id=${encodeURIComponent(`${epoch}-${Math.max(0, offset - BACK)}`)}`;
    const response = await fetch(url + after, { headers, cache: "no-store", signal: connection.signal });
    if (!response.ok || !response.body) return told;
    for await (const { type, id, data } of readEvents(response.body)) {
      const at = parseId(id);
      if (type === "reset" || at.epoch !== epoch || at.offset > offset) break;
      told.push({ type, data: JSON.parse(data) });
      if (at.offset === offset) break;
      clearTimeout(timer);
      timer = setTimeout(giveUp, SILENCE);
    }
  } catch {
    // a break: then this is all
  } finally {
    clearTimeout(timer);
    connection.abort();
  }
  return told;
}
