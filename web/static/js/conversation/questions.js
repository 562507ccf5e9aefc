/** Sends questions to the model that the picker shows, has answers written again or gone on with, and stops them. */

import { newKey } from "../api/client.js";
import { isSessionLost, Problem } from "../api/problem.js";

/**
 * @typedef {import("../api/client.js").Wish} Wish
 * @typedef {import("../api/client.js").Accepted} Accepted
 * @typedef {import("./reducer.js").Item} Item
 *
 * @typedef {object} Page
 * @property {import("../api/client.js").ApiClient} api
 * @property {import("./sync.js").Sync} sync
 * @property {import("../sessions/current-session.js").CurrentSession} session
 * @property {import("../sessions/model-switcher.js").ModelSwitcher} models
 * @property {import("../settings/early-settings.js").EarlySettings} early
 * @property {import("../ui/notifications.js").Notifications} notifications
 * @property {import("./composer.js").Composer} composer
 * @property {import("./waiting-questions.js").WaitingQuestions} waiting
 * @property {import("../ui/stick-to-bottom.js").StickToBottom} stickToBottom
 * @property {() => boolean} signedIn
 */

export class Questions {
  /** The wish that got no answer at all, and its key: asked again, it must not count twice. */
  #unanswered = { wish: "", key: "" };

  /** @param {import("./store.js").Store} store @param {Page} page */
  constructor(store, page) {
    this.store = store;
    this.page = page;
  }

  /** Send a question: after the end of the answer, where one is being written. @param {string} text */
  async send(text) {
    const question = { message: text, while_busy: "queue" };
    this.page.composer.focus(); // the button that was pressed is of no use now
    await this.#request({ path: "/chat", body: question }, text, (key) => this.#ask(question, key));
  }

  /** Send a question beside this one. An answer that is being written ends for it.
   * @param {Item} question @param {string} text @returns {Promise<boolean>} whether the server has taken it */
  async edit({ parent }, text) {
    const body = { message: text, parent: parent ?? null, while_busy: "interrupt" };
    const taken = await this.#request({ path: "/chat", body });
    if (taken) this.page.composer.focus();
    return taken;
  }

  /** Have another answer written beside this one. @param {Item} answer @param {string} [model] another than the session's */
  async again({ id }, model) {
    this.page.composer.focus();
    await this.#request({ path: "/chat/regenerate", body: { message_id: id, model } });
  }

  /** Have this answer gone on with. @param {Item} answer */
  async goOn({ id }) {
    this.page.composer.focus();
    await this.#request({ path: "/chat/continue", body: { message_id: id } });
  }

  /** Show the branch through this message. @param {string} id @param {string} words which one that is */
  async turnTo(id, words) {
    const current = this.store.sameConversation();
    try {
      await this.page.api.turnTo(id);
      await this.page.sync.refresh();
      if (current()) this.page.notifications.succeeded(words);
    } catch (error) {
      if (current()) await this.page.session.failed(error);
    }
  }

  /**
   * Ask once the session has the chosen model or, where that can't be, not at all. Both waits end, for their requests do.
   * @param {Wish} wish @param {string | null} [text] of a new question, to be shown meanwhile, and given back if it is refused
   * @param {(key: string) => Promise<Accepted>} [ask] @returns {Promise<boolean>} whether the server has taken it
   */
  async #request(wish, text = null, ask = (key) => this.page.api.ask(wish, key)) {
    const { store, page } = this;
    if (store.state.sending) return false;
    const name = JSON.stringify(wish);
    const key = this.#unanswered.wish === name ? this.#unanswered.key : newKey();
    this.#unanswered = { wish: "", key: "" };
    page.notifications.notify("");
    store.dispatch({ type: "sending", text });
    if (text !== null) page.stickToBottom.toEnd();
    try {
      await page.session.opening;
      if (!(await page.models.settle())) return this.#refused(text);
      const { state } = await ask(key);
      store.dispatch({ type: "sent" });
      await Promise.all([page.sync.refresh(), state === "waiting" && page.waiting.refresh()]);
      return true;
    } catch (error) {
      this.#refused(text);
      if (error instanceof Problem && mayHaveArrived(error)) this.#unanswered = { wish: name, key };
      await this.#explain(error);
      return false;
    }
  }

  /** @param {string | null} text */
  #refused(text) {
    if (text !== null) this.page.composer.restore(text);
    this.store.dispatch({ type: "unsent" });
    void this.page.models.settle();
    return false;
  }

  /** @param {unknown} error */
  async #explain(error) {
    const { store, page } = this;
    if (isSessionLost(error) && (store.state.session || error.slug.startsWith("login-"))) return page.session.lost(error);
    page.notifications.showError(error, this.#over(error));
    // Another question is being answered, or events came in while this was on its way.
    if (store.state.stale || (error instanceof Problem && error.status === 409)) void page.sync.refresh();
  }

  /** When what a question was refused for has gone, if that can be known. @param {unknown} error */
  #over(error) {
    if (!(error instanceof Problem)) return undefined;
    if (error.slug === "generation-in-progress") return this.store.idle();
    return error.status === 0 && navigator.onLine === false
      ? new Promise((/** @type {(value: void) => void} */ back) => addEventListener("online", () => back(), { once: true }))
      : undefined;
  }

  /** Stop the answer; the event `stopped` then says where it ended. */
  async stop() {
    try {
      await this.page.api.stop();
    } catch (error) {
      // It has ended by itself meanwhile, or the request failed: either way the server knows how things are.
      if (!(error instanceof Problem && error.status === 409)) this.page.notifications.showError(error);
      void this.page.sync.refresh();
    }
  }

  /**
   * A page without a session may still carry the cookie of one that ran out, or meet a server that makes
   * no session unasked. Sending a message is asking.
   * @param {object} question @param {string} key @returns {Promise<Accepted>}
   */
  async #ask(question, key) {
    const { store, page } = this;
    /** @param {string | null} model */
    const ask = (model) => page.api.ask({ path: "/chat", body: { ...question, model: model ?? undefined } }, key);
    if (!store.state.session && !page.sync.unsettled) {
      if (page.signedIn()) await page.session.createOwned(); // the cookie may be that of the conversation before
      else if (page.early.any) await page.session.create();
    }
    await page.session.settle();
    try {
      return await ask(page.models.forNewSession);
    } catch (error) {
      if (store.state.session || !isSessionLost(error) || error.slug === "login-invalid") throw error;
      await page.api.createSession(page.models.picked);
      return ask(null);
    }
  }
}

/**
 * Whether the server may have done it all the same: it has not answered, or a proxy did in its place.
 * @param {Problem} error
 */
const mayHaveArrived = ({ status, slug }) => status === 0 || (status >= 500 && !slug) || slug === "idempotency-in-flight";
