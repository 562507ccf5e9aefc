/**
 * What changes in any of the user's sessions, live, as long as the page can be seen. Nothing of it is kept: each
 * connection begins with `reset`, which says that the list is to be fetched.
 */

import { Backoff } from "./backoff.js";
import { readEvents } from "./sse-parser.js";

/** The server sends something every 15 s: milliseconds of silence after which a connection is taken for dead. */
const SILENCE_TIMEOUT = 40_000;
/** A connection that lived this long was a good one: the next break is the first again. */
const STABLE_AFTER = 5_000;

/**
 * @typedef {{session_id: string}} OfSession
 * @typedef {{type: "changed", data: OfSession & {title: string | null}}
 *   | {type: "answering", data: OfSession & {title: string | null, last_active_at: string}}
 *   | {type: "answered", data: OfSession & {state: string}}
 *   | {type: "read", data: OfSession}} ListedEvent
 * @typedef {ListedEvent | {type: "reset" | "expired", data: object}
 *   | {type: "created" | "model" | "deleted", data: OfSession}} UserEvent as web/schemas/responses.py (`UserEvent`) names them
 */

export class UserStream {
  /** @type {AbortController | null} */ #connection = null;
  /** @type {number | undefined} */ #timer;
  #wanted = false;
  #backoff = new Backoff();

  /** @param {string} url @param {(event: UserEvent) => void} receive */
  constructor(url, receive) {
    this.url = url;
    this.receive = receive;
    // A hidden page leaves its connection to those that are seen: over HTTP/1.1 a browser has six for the whole site.
    document.addEventListener("visibilitychange", () => this.#settle());
    addEventListener("online", () => this.#reconnect());
  }

  /** Whether a user is there whose stream it is. */
  set wanted(/** @type {boolean} */ wanted) {
    this.#wanted = wanted;
    this.#settle();
  }

  #settle() {
    const open = this.#wanted && !document.hidden;
    if (open && !this.#connection) this.#reconnect();
    else if (!open) this.#disconnect();
  }

  #reconnect() {
    this.#disconnect();
    if (!this.#wanted || document.hidden) return;
    const connection = new AbortController();
    this.#connection = connection;
    void this.#listen(connection);
  }

  #disconnect() {
    clearTimeout(this.#timer);
    this.#connection?.abort();
    this.#connection = null;
  }

  /** @param {AbortController} connection */
  async #listen(connection) {
    const { signal } = connection;
    const alive = () => {
      clearTimeout(this.#timer);
      if (!signal.aborted) this.#timer = setTimeout(() => this.#reconnect(), SILENCE_TIMEOUT);
    };
    alive();
    const began = performance.now();
    let refused = false;
    try {
      const response = await fetch(this.url, { headers: { Accept: "text/event-stream" }, cache: "no-store", signal });
      refused = response.status === 401;
      if (response.ok && response.body) {
        for await (const { type, data } of readEvents(response.body, alive)) {
          if (signal.aborted) return;
          this.receive(/** @type {UserEvent} */ ({ type, data: JSON.parse(data) }));
        }
      }
    } catch {
      // a break like any other
    }
    if (signal.aborted) return;
    this.#disconnect();
    if (performance.now() - began > STABLE_AFTER) this.#backoff.reset();
    if (refused) {
      this.#wanted = false;
      this.receive({ type: "expired", data: {} }); // as a connection would have said
    } else this.#timer = setTimeout(() => this.#reconnect(), this.#backoff.next());
  }
}
