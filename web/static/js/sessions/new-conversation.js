/** The button for a new conversation, and the question that it may ask first. */

import { isSessionLost } from "../api/problem.js";
import { items } from "../conversation/reducer.js";
import { ConfirmBar } from "../ui/confirm-bar.js";
import { byId } from "../ui/dom.js";
import { focusIsFree } from "../ui/focus.js";
import { t } from "../ui/strings.js";

/**
 * @typedef {object} Page
 * @property {import("../api/client.js").ApiClient} api
 * @property {import("./current-session.js").CurrentSession} session
 * @property {import("./address.js").Address} address
 * @property {import("../ui/notifications.js").Notifications} notifications
 * @property {import("../conversation/composer.js").Composer} composer
 */

export class NewConversation {
  #button = byId("new", HTMLButtonElement);
  #confirm = new ConfirmBar(
    byId("confirm"), byId("confirm-delete", HTMLButtonElement), byId("confirm-keep", HTMLButtonElement));

  /** @param {import("../conversation/store.js").Store} store @param {Page} page */
  constructor(store, page) {
    this.store = store;
    this.page = page;
    this.#button.addEventListener("click", () => void this.#ask());
    for (const restart of [byId("restart"), byId("missing-new")]) restart.addEventListener("click", () => this.begin());
  }

  /** An empty page; the next message makes a session. */
  begin() {
    const { session, address, notifications, composer } = this.page;
    notifications.notify("");
    address.push(null); // first: what was being written goes along where its conversation is over
    session.clear();
    notifications.announce(t("new.announcement"));
    if (focusIsFree(this.#button, byId("panel"))) composer.focus();
  }

  /** The conversation that the question is about is another user's now. */
  dismiss() {
    this.#confirm.dismiss();
  }

  /** A user's conversation stays in the list; a guest's is deleted when a new one begins. */
  async #ask() {
    const { session } = this.store.state;
    if (this.store.state.missing || (session && !session.anonymous)) return this.begin();
    if (this.#confirm.asking) return this.#confirm.dismiss();
    if (items(this.store.state).length > 0) {
      this.#button.ariaExpanded = "true";
      const answer = await this.#confirm.ask(byId("confirm-keep"));
      this.#button.ariaExpanded = "false";
      if (!answer) return void (focusIsFree() && this.#button.focus());
    }
    try {
      await this.page.api.deleteSession();
    } catch (error) {
      if (!isSessionLost(error)) return this.page.notifications.showError(error);
    }
    this.page.session.guestDeleted();
    this.begin();
  }
}
