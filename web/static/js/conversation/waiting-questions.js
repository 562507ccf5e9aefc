/** The questions that wait for the end of the answer: fetched when they have changed, shown below it, edited and taken
 * back. */

import { isTransient } from "../api/error-messages.js";
import { Problem } from "../api/problem.js";
import { Backoff } from "../stream/backoff.js";
import { t } from "../ui/strings.js";
import { WaitingRow } from "./waiting-row.js";

/**
 * @typedef {import("./store.js").State} State
 *
 * @typedef {object} Page
 * @property {import("../api/client.js").ApiClient} api
 * @property {import("./composer.js").Composer} composer
 * @property {import("../ui/notifications.js").Notifications} notifications
 * @property {(error: unknown) => Promise<void>} failed a request about the session has failed
 */

export class WaitingQuestions {
  /** @type {Promise<void> | null} */ #running = null;
  #again = false;
  /** @type {number | undefined} */ #retryTimer;
  #backoff = new Backoff();
  /** By the id of its generation. @type {Map<string, WaitingRow>} */ #rows = new Map();

  /** @param {HTMLElement} list @param {import("./store.js").Store} store @param {Page} page */
  constructor(list, store, page) {
    this.list = list;
    this.store = store;
    this.page = page;
    store.subscribe((now, before) => {
      if (now.waiting !== before.waiting || now.queueing !== before.queueing) this.#draw(now);
      if (Boolean(now.live) !== Boolean(before.live)) this.#tell(now);
      if (now.serial === before.serial && now.waitingChanges !== before.waitingChanges) void this.refresh();
    });
  }

  /** Fetch them; a fetch under way is followed by another. One that fails leaves the list as it is, and is tried again. */
  refresh() {
    if (this.#running) this.#again = true;
    this.#running ??= this.#fetch().finally(() => { this.#running = null; });
    return this.#running;
  }

  /** Let the reader edit the last one. @returns {boolean} whether there is one */
  editLast() {
    const last = [...this.#rows.values()].at(-1);
    last?.edit();
    return last !== undefined;
  }

  async #fetch() {
    clearTimeout(this.#retryTimer);
    do {
      this.#again = false;
      const current = this.store.sameConversation();
      try {
        const waiting = await this.page.api.waiting();
        this.#backoff.reset();
        if (current() && !this.#again) this.store.dispatch({ type: "waiting", waiting });
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        if (current() && (error.status === 0 || isTransient(error))) this.#retry(current);
      }
    } while (this.#again);
  }

  /** @param {() => boolean} current whether this is still about the conversation on screen */
  #retry(current) {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => { if (current()) void this.refresh(); }, this.#backoff.next());
  }

  /** @param {State} state */
  #draw(state) {
    const { waiting, queueing } = state;
    const before = this.#rows;
    this.#rows = new Map(waiting.map(({ generation_id: id, message }) => [id, before.get(id) ?? this.#newRow(id, message)]));
    for (const { generation_id: id, message } of waiting) /** @type {WaitingRow} */ (this.#rows.get(id)).text = message;
    for (const [id, row] of before) {
      if (!this.#rows.has(id) && row.unsaved) this.page.composer.restore(row.unsaved); // its turn has come meanwhile
    }
    this.#tell(state);
    const focused = this.list.contains(document.activeElement) ? document.activeElement : null;
    const nodes = [...this.#rows.values()].map(({ node }) => node);
    if (queueing !== null) {
      const last = new WaitingRow(queueing, null);
      last.waitsForAnswer(state.live !== null && nodes.length === 0);
      nodes.push(last.node);
    }
    this.list.replaceChildren(...nodes);
    this.list.hidden = nodes.length === 0;
    if (focused?.isConnected) /** @type {HTMLElement} */ (focused).focus();
    else if (focused) this.page.composer.focus();
  }

  /** What they wait for. @param {State} state */
  #tell({ live }) {
    for (const [place, row] of [...this.#rows.values()].entries()) row.waitsForAnswer(live !== null && place === 0);
  }

  /** @param {string} id @param {string} message */
  #newRow(id, message) {
    const { api } = this.page;
    return new WaitingRow(message, {
      edit: (text) => this.#change(() => api.editWaiting(id, text), t("waiting.edited")),
      remove: () => void this.#change(() => api.removeWaiting(id), t("waiting.removed")),
    });
  }

  /** @param {() => Promise<void>} change @param {string} words when it is done @returns {Promise<boolean>} whether it is */
  async #change(change, words) {
    const current = this.store.sameConversation();
    try {
      await change();
      await this.refresh();
      this.page.notifications.succeeded(words);
      return true;
    } catch (error) {
      if (current()) await this.page.failed(error);
      void this.refresh(); // its turn has come, perhaps
      return false;
    }
  }
}
