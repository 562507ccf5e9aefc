/** Brings the state up to the server's account of the session, and lets the events go on from there. */

import { isSessionLost, Problem } from "../api/problem.js";
import { Backoff } from "../stream/backoff.js";
import { replay } from "../stream/replay.js";
import { SessionStream } from "../stream/session-stream.js";

const EVENTS = "/chat/sse";

/**
 * @typedef {import("../stream/events.js").StreamEvent} StreamEvent
 * @typedef {import("../api/client.js").Message} Message
 *
 * @typedef {object} Page
 * @property {import("../api/client.js").ApiClient} api
 * @property {() => string | null} expected the session that the page is about; null: whichever the cookie names
 * @property {(hasMessages: boolean) => void} synced the state is the server's account
 * @property {(error: import("../api/problem.js").Problem) => Promise<void>} lost the session is gone
 * @property {(reason: string) => void} expired the stream has come to its end
 * @property {(connected: boolean) => void} connection
 */

export class Sync {
  /** @type {Promise<void> | null} */ #running = null;
  #again = false;
  /** @type {number | undefined} */ #retryTimer;
  #backoff = new Backoff();
  /** @type {(() => void)[]} */ #awaiting = [];

  /** @param {import("./store.js").Store} store @param {Page} page */
  constructor(store, page) {
    this.store = store;
    this.page = page;
    this.stream = new SessionStream(page.api.url(EVENTS), () => page.api.sessionHeaders(), {
      event: (event) => this.#receive(event),
      refused: () => { if (!this.#retryTimer) void this.refresh(); },
      state: (connected) => {
        page.connection(connected);
        if (connected && this.#retryTimer) void this.refresh();
      },
    });
    store.subscribe((now, before) => {
      if (now.serial !== before.serial) this.#stopRetrying(); // what could not be had is not wanted any more
      if (now.stale && !before.stale && !now.sending) void this.refresh();
    });
  }

  /** Whether there may be a session that the server has not told of yet. */
  get unsettled() {
    return this.#running !== null || this.#retryTimer !== undefined;
  }

  /** Fetch the session and its messages; a refresh under way is followed by another. @returns {Promise<void>} */
  refresh() {
    if (this.#running) this.#again = true;
    this.#running ??= this.#run();
    return this.#running;
  }

  /** When the server has told of the session on screen, from now on: that it answers again. @returns {Promise<void>} */
  answered() {
    void this.refresh();
    return new Promise((resolve) => this.#awaiting.push(resolve));
  }

  /** @param {StreamEvent} event */
  #receive(event) {
    switch (event.type) {
      case "expired": return this.page.expired(event.data.reason ?? "expired");
      case "reset":
        this.stream.close(); // what it sends from here on doesn't follow from what we have
        return this.store.dispatch({ type: "stale" });
      default: return this.store.dispatch({ type: "event", event });
    }
  }

  async #run() {
    this.#stopRetrying();
    do {
      this.#again = false;
      const current = this.store.sameConversation();
      this.stream.hold();
      try {
        await this.#fetch(current);
      } catch (error) {
        if (!current()) continue;
        this.stream.release();
        if (isSessionLost(error)) await this.page.lost(error);
        else this.#goOnAsking();
      }
    } while (this.#again);
    this.#running = null;
  }

  #stopRetrying() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
  }

  #goOnAsking() {
    this.#retryTimer = setTimeout(() => void this.refresh(), this.#backoff.next());
    this.store.dispatch({ type: "away" });
  }

  /** @param {() => boolean} current whether this is still about the conversation on screen */
  async #fetch(current) {
    const { store, stream, page: { api } } = this;
    const expected = this.page.expected();
    const fetched = await Promise.all([api.currentSession(), api.transcript()]);
    const [{ data: session, etag }, { messages, cursor, before }] = fetched;
    if (!current()) return;
    // The cookie is that of another conversation, which was begun in another tab.
    if (expected && session.session_id !== expected) throw new Problem({ status: 401, type: "/problems/session-invalid" });
    api.useSession(session);
    const received = await stream.receivedUpTo(cursor);
    const events = received ?? (cursor ? await this.#missed(cursor, messages.at(-1)) : []);
    if (!current()) return;
    stream.resumeAfter(cursor);
    store.dispatch({ type: "snapshot", session, etag, messages, earlier: before, events, replayed: received === null });
    stream.release();
    this.#backoff.reset();
    for (const resolve of this.#awaiting.splice(0)) resolve();
    this.page.synced(messages.length > 0);
  }

  /**
   * The events that this page has missed of an answer that is coming, or of whose end it should tell the reader.
   * @param {string} cursor @param {Message | undefined} last @returns {Promise<StreamEvent[]>}
   */
  async #missed(cursor, last) {
    const { pending, live } = this.store.state;
    const streaming = last?.state === "streaming";
    const asked = pending !== null; // so it has only just begun, and may have ended since
    if (!streaming && !asked && (last?.state !== "failed" || last.problem) && live?.message !== last?.id) return [];
    return replay(this.page.api.url(EVENTS), this.page.api.sessionHeaders(), cursor, streaming && !asked);
  }
}
