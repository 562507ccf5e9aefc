/**
 * The session's events, live, over one connection.
 *
 * Not an EventSource: that names its session by the cookie alone, which all tabs share, while a user's tabs
 * may each show another conversation. Each break is followed by a reopening after the last event seen.
 */

import { Backoff } from "./backoff.js";
import { isCovered, parseId } from "./event-id.js";
import { parseEvent } from "./events.js";
import { readEvents } from "./sse-parser.js";

/** These are no entries of the log, so an id of theirs is no place in it. */
const OUTSIDE_LOG = new Set(["session", "reset", "expired"]);
/** A connection that lived this long was a good one: the next break is the first again. */
const STABLE_AFTER = 5_000;
/** The server sends something every 15 s. A connection that is silent for longer than this is dead, and may never
 * tell: that of a computer which has slept, or gone to another network. */
const SILENCE_TIMEOUT = 40_000;
const SILENCE_CHECK_INTERVAL = 2_000;
/** Milliseconds that events may take which the server has written already. */
const CATCH_UP_TIMEOUT = 1_000;

/**
 * @typedef {import("./events.js").StreamEvent} StreamEvent
 * @typedef {{id: string, event: StreamEvent}} Held
 */

export class SessionStream {
  /** @type {AbortController | null} */ #connection = null;
  /** @type {number | undefined} */ #timer;
  /** @type {string | null} */ #lastId = null;
  /** @type {Held[] | null} */ #held = null;
  /** @type {{cursor: string, go: () => void} | null} */ #awaited = null;
  #wanted = false;
  #lastReceivedAt = 0;
  #backoff = new Backoff();

  /**
   * @param {string} url
   * @param {() => Record<string, string>} headers name the session, besides the cookie
   * @param {{event: (event: StreamEvent) => void, refused: () => void, state: (connected: boolean) => void}} on
   *   `refused`: the stream could not even be opened, which may mean that the session is over
   */
  constructor(url, headers, on) {
    this.url = url;
    this.headers = headers;
    this.on = on;
    setInterval(() => this.#checkSilence(), SILENCE_CHECK_INTERVAL);
  }

  /** Whether there is a log to go on with, connected or paused. */
  get wanted() {
    return this.#wanted;
  }

  get connecting() {
    return this.#connection !== null;
  }

  /** Keep what arrives until `release`, so that a snapshot fetched meanwhile can go first. */
  hold() {
    this.#held ??= [];
  }

  /**
   * The held events that a snapshot has already, once the last of them is here; null: this connection does not lead
   * there.
   * @param {string | null} cursor @returns {Promise<StreamEvent[] | null>}
   */
  async receivedUpTo(cursor) {
    if (!cursor) return [];
    if (!this.#connection || !this.#isSameLog(cursor)) return null;
    if (!isCovered(cursor, this.#lastId)) {
      await new Promise((/** @type {(value: null) => void} */ go) => {
        this.#awaited = { cursor, go: () => go(null) };
        setTimeout(go, CATCH_UP_TIMEOUT);
      });
      if (!isCovered(cursor, this.#lastId)) return null;
    }
    return (this.#held ?? []).filter(({ id }) => isCovered(id, cursor)).map(({ event }) => event);
  }

  /** @param {string | null} cursor */
  #isSameLog(cursor) {
    return this.#wanted && parseId(cursor).epoch === parseId(this.#lastId).epoch;
  }

  /** Deliver what was held. */
  release() {
    const held = this.#held ?? [];
    this.#held = null;
    for (const { event } of held) this.on.event(event);
  }

  /** Go on from a snapshot's cursor, and still hold. Null: the log was still empty. @param {string | null} cursor */
  resumeAfter(cursor) {
    if (!this.#isSameLog(cursor)) {
      this.#held = [];
      this.#lastId = cursor;
      this.reopen();
      return;
    }
    if (isCovered(this.#lastId, cursor)) this.#lastId = cursor;
    this.#held = (this.#held ?? []).filter(({ id }) => !isCovered(id, cursor));
  }

  /** Connect now, after the last event seen. */
  reopen() {
    this.#disconnect();
    this.#wanted = true;
    const after = this.#lastId ? `?last_event_id=${encodeURIComponent(this.#lastId)}` : "";
    const connection = new AbortController();
    this.#connection = connection;
    void this.#listen(connection, this.url + after);
  }

  /** @param {AbortController} connection @param {string} url */
  async #listen(connection, url) {
    let openedAt = 0;
    this.#lastReceivedAt = Date.now();
    try {
      const headers = { ...this.headers(), Accept: "text/event-stream" };
      const response = await fetch(url, { headers, cache: "no-store", signal: connection.signal });
      if (connection.signal.aborted) return;
      if (response.ok && response.body) {
        openedAt = performance.now();
        this.on.state(true);
        for await (const event of readEvents(response.body, () => { this.#lastReceivedAt = Date.now(); })) {
          if (connection.signal.aborted) return;
          this.#receive(event);
        }
      }
    } catch {
      // a break like any other
    }
    if (connection.signal.aborted) return;
    this.#disconnect();
    if (openedAt && performance.now() - openedAt > STABLE_AFTER) this.#backoff.reset();
    this.#timer = setTimeout(() => this.reopen(), this.#backoff.next());
    this.on.state(false);
    if (!openedAt) this.on.refused();
  }

  /** By the wall clock: others stand still while a computer sleeps. */
  #checkSilence() {
    if (!this.#connection || Date.now() - this.#lastReceivedAt < SILENCE_TIMEOUT) return;
    this.on.state(false);
    this.reopen();
  }

  /** @param {import("./sse-parser.js").Frame} frame */
  #receive(frame) {
    const id = OUTSIDE_LOG.has(frame.type) ? "" : frame.id;
    if (isCovered(id, this.#lastId)) return;
    if (id) this.#lastId = id;
    const event = parseEvent(frame);
    if (this.#held) this.#held.push({ id, event });
    else this.#deliver(event);
    if (this.#awaited && isCovered(this.#awaited.cursor, this.#lastId)) this.#awaited.go();
  }

  /** An error in a handler is no break of the connection. @param {StreamEvent} event */
  #deliver(event) {
    try {
      this.on.event(event);
    } catch (error) {
      reportError(error);
    }
  }

  /** Disconnect; `reopen` goes on after the last event seen. */
  pause() {
    this.#disconnect();
  }

  /** Disconnect, and forget the place in the log. */
  close() {
    this.#disconnect();
    this.#wanted = false;
    this.#lastId = null;
    this.#held = null;
    this.#backoff.reset();
  }

  #disconnect() {
    clearTimeout(this.#timer);
    this.#connection?.abort();
    this.#connection = null;
    this.#awaited?.go();
    this.#awaited = null;
  }
}
