// @ts-check
/**
 * The session's events, live, over one connection.
 *
 * Not an EventSource: that names its session by the cookie alone, which all tabs share, while a user's tabs
 * may each show another conversation. Each break is followed by a reopening after the last event seen, at a
 * random moment within a growing window, lest all pages of a restarted server return in the same second.
 */

import { readEvents } from "./event-stream.js";

/** These are no entries of the log, so an id of theirs is no place in it. */
const OUTSIDE_LOG = new Set(["session", "reset", "expired"]);
const FIRST_WINDOW = 1_000;
const WIDEST_WINDOW = 20_000;
/** A connection that lived this long was a good one: the next break starts again with a narrow window. */
const GOOD_LIFE = 5_000;

/** @typedef {{type: string, id: string, data: any}} StreamEvent */

/** `epoch-offset`; the epoch may contain dashes. @param {string | null} id */
export function parseId(id) {
  const dash = (id ?? "").lastIndexOf("-");
  return { epoch: (id ?? "").slice(0, Math.max(dash, 0)), offset: Number((id ?? "").slice(dash + 1)) };
}

/** Whether `id` lies at or before `cursor` in the same log. @param {string | null} id @param {string | null} cursor */
export function isCovered(id, cursor) {
  if (!id || !cursor) return false;
  const [a, b] = [parseId(id), parseId(cursor)];
  return a.epoch === b.epoch && a.offset <= b.offset;
}

export class Stream {
  /** @type {AbortController | null} */ #line = null;
  /** @type {number | undefined} */ #timer;
  /** @type {string | null} */ #lastId = null;
  /** @type {StreamEvent[] | null} */ #held = null;
  #wanted = false;
  #breaks = 0;

  /**
   * @param {string} url
   * @param {() => Record<string, string>} headers what names the session, besides the cookie
   * @param {{event: (event: StreamEvent) => void, refused: () => void, state: (connected: boolean) => void}} tell
   *   `refused`: the stream could not even be opened, which may mean that the session is over
   */
  constructor(url, headers, tell) {
    this.url = url;
    this.headers = headers;
    this.tell = tell;
  }

  get wanted() {
    return this.#wanted;
  }

  get connecting() {
    return this.#line !== null;
  }

  /** Keep what arrives until `release`, so that a snapshot fetched meanwhile can go first. */
  hold() {
    this.#held ??= [];
  }

  /** Let what was held through. */
  release() {
    const held = this.#held ?? [];
    this.#held = null;
    for (const event of held) this.tell.event(event);
  }

  /** Go on from a snapshot's cursor; null: the log was still empty. @param {string | null} cursor */
  releaseAfter(cursor) {
    if (!this.#wanted || parseId(cursor).epoch !== parseId(this.#lastId).epoch) {
      this.#held = null;
      this.#lastId = cursor;
      this.reopen();
      return;
    }
    if (isCovered(this.#lastId, cursor)) this.#lastId = cursor;
    this.#held = (this.#held ?? []).filter(({ id }) => !isCovered(id, cursor));
    this.release();
  }

  /** Connect now, after the last event seen. */
  reopen() {
    this.#disconnect();
    this.#wanted = true;
    const after = this.#lastId ? `?last_event_id=${encodeURIComponent(this.#lastId)}` : "";
    const line = new AbortController();
    this.#line = line;
    void this.#listen(line, this.url + after);
  }

  /** @param {AbortController} line @param {string} url */
  async #listen(line, url) {
    let openedAt = 0;
    try {
      const headers = { ...this.headers(), Accept: "text/event-stream" };
      const response = await fetch(url, { headers, cache: "no-store", signal: line.signal });
      if (line.signal.aborted) return;
      if (response.ok && response.body) {
        openedAt = performance.now();
        this.tell.state(true);
        for await (const event of readEvents(response.body)) {
          if (line.signal.aborted) return;
          this.#take(event);
        }
      }
    } catch {
      // a break like any other
    }
    if (line.signal.aborted) return;
    this.#disconnect();
    if (openedAt && performance.now() - openedAt > GOOD_LIFE) this.#breaks = 0;
    const window = Math.min(WIDEST_WINDOW, FIRST_WINDOW * 2 ** this.#breaks++);
    this.#timer = setTimeout(() => this.reopen(), Math.random() * window);
    this.tell.state(false);
    if (!openedAt) this.tell.refused();
  }

  /** @param {{type: string, id: string, data: string}} told */
  #take({ type, id: told, data }) {
    const id = OUTSIDE_LOG.has(type) ? "" : told;
    if (isCovered(id, this.#lastId)) return;
    if (id) this.#lastId = id;
    const event = { type, id, data: JSON.parse(data) };
    if (this.#held) this.#held.push(event);
    else this.#tell(event);
  }

  /** A mistake in what is done about an event is no break of the line. @param {StreamEvent} event */
  #tell(event) {
    try {
      this.tell.event(event);
    } catch (error) {
      reportError(error);
    }
  }

  /** Leave the line but stay willing: `reopen` goes on where this left off. */
  pause() {
    this.#disconnect();
  }

  /** Forget the log altogether. */
  close() {
    this.#disconnect();
    this.#wanted = false;
    this.#lastId = null;
    this.#held = null;
    this.#breaks = 0;
  }

  #disconnect() {
    clearTimeout(this.#timer);
    this.#line?.abort();
    this.#line = null;
  }
}
