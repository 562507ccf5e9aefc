/** Sends questions to the model that the picker shows, and stops answers. */

import { newKey } from "../api/client.js";
import { isSessionLost, Problem } from "../api/problem.js";

/**
 * @typedef {object} Page
 * @property {import("../api/client.js").ApiClient} api
 * @property {import("./sync.js").Sync} sync
 * @property {import("../sessions/current-session.js").CurrentSession} session
 * @property {import("../sessions/model-switcher.js").ModelSwitcher} models
 * @property {import("../ui/notifications.js").Notifications} notifications
 * @property {import("./composer.js").Composer} composer
 * @property {import("../ui/stick-to-bottom.js").StickToBottom} stickToBottom
 * @property {() => boolean} signedIn
 */

export class Questions {
  /** The question that got no answer at all, and its key: asked again, it must not count twice. */
  #unanswered = { text: "", key: "" };

  /** @param {import("./store.js").Store} store @param {Page} page */
  constructor(store, page) {
    this.store = store;
    this.page = page;
  }

  /**
   * Send once the session has the chosen model or, where that can't be, not at all. Both waits end, for their requests do.
   * @param {string} text
   */
  async send(text) {
    const { store, page } = this;
    const key = this.#unanswered.text === text ? this.#unanswered.key : newKey();
    this.#unanswered = { text: "", key: "" };
    page.notifications.notify("");
    store.dispatch({ type: "sending", text });
    page.stickToBottom.toEnd();
    page.composer.focus(); // the button that was pressed is of no use now
    try {
      await page.session.opening;
      if (!(await page.models.settle())) return this.#unsent(text);
      await this.#ask(text, key);
      store.dispatch({ type: "sent" });
      await page.sync.refresh();
    } catch (error) {
      this.#unsent(text);
      if (error instanceof Problem && mayHaveArrived(error)) this.#unanswered = { text, key };
      if (isSessionLost(error) && (store.state.session || error.slug.startsWith("login-"))) {
        return page.session.lost(error);
      }
      page.notifications.showError(error, this.#over(error));
      // Another question is being answered, or events came in while this was on its way.
      if (store.state.stale || (error instanceof Problem && error.status === 409)) void page.sync.refresh();
    }
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

  /** @param {string} text */
  #unsent(text) {
    this.page.composer.restore(text);
    this.store.dispatch({ type: "unsent" });
    void this.page.models.settle();
  }

  /**
   * A page without a session may still carry the cookie of one that ran out, or meet a server that makes
   * no session unasked. Sending a message is asking.
   * @param {string} text @param {string} key
   */
  async #ask(text, key) {
    const { store, page } = this;
    if (page.signedIn() && !store.state.session && !page.sync.unsettled) {
      await page.session.createOwned(); // the cookie may be that of the conversation before
    }
    try {
      return await page.api.ask(text, page.models.forNewSession, key);
    } catch (error) {
      if (store.state.session || !isSessionLost(error) || error.slug === "login-invalid") throw error;
      await page.api.createSession(page.models.picked);
      return page.api.ask(text, null, key);
    }
  }
}

/**
 * Whether the server may have done it all the same: it has not answered, or a proxy did in its place.
 * @param {Problem} error
 */
const mayHaveArrived = ({ status, slug }) => status === 0 || (status >= 500 && !slug) || slug === "idempotency-in-flight";
