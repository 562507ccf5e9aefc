// @ts-check
/**
 * The session's events, live, over one EventSource.
 *
 * EventSource gives up for good on any answer but 200, and otherwise retries at a fixed pace. So each
 * break is followed by a reopening of our own, after the last event seen, at a random moment within a
 * growing window, lest all pages of a restarted server return in the same second.
 */

const TYPES = [
  "session", "queued", "started", "delta", "fallback", "resumed",
  "done", "stopped", "failed", "model", "reset", "expired",
];
/** These are no entries of the log. They come without an id, and EventSource then repeats the last one it saw. */
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
  /** @type {EventSource | null} */ #source = null;
  /** @type {number | undefined} */ #timer;
  /** @type {string | null} */ #lastId = null;
  /** @type {StreamEvent[] | null} */ #held = null;
  #wanted = false;
  #breaks = 0;

  /**
   * @param {string} url
   * @param {{event: (event: StreamEvent) => void, refused: () => void, state: (connected: boolean) => void}} tell
   *   `refused`: the stream could not even be opened, which may mean that the session is over
   */
  constructor(url, tell) {
    this.url = url;
    this.tell = tell;
  }

  get wanted() {
    return this.#wanted;
  }

  get connecting() {
    return this.#source !== null;
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
    const source = new EventSource(this.url + after);
    this.#source = source;
    let openedAt = 0;
    source.onopen = () => {
      openedAt = performance.now();
      this.tell.state(true);
    };
    source.onerror = () => {
      if (openedAt && performance.now() - openedAt > GOOD_LIFE) this.#breaks = 0;
      this.#disconnect();
      const window = Math.min(WIDEST_WINDOW, FIRST_WINDOW * 2 ** this.#breaks++);
      this.#timer = setTimeout(() => this.reopen(), Math.random() * window);
      this.tell.state(false);
      if (!openedAt) this.tell.refused();
    };
    for (const type of TYPES) {
      source.addEventListener(type, (message) => {
        const id = OUTSIDE_LOG.has(type) ? "" : message.lastEventId;
        if (isCovered(id, this.#lastId)) return;
        if (id) this.#lastId = id;
        const event = { type, id, data: JSON.parse(message.data || "{}") };
        if (this.#held) this.#held.push(event);
        else this.tell.event(event);
      });
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
    this.#source?.close();
    this.#source = null;
  }
}
