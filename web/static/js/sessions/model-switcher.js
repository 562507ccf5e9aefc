/** Has the session answered by the model that the reader chooses. */

import { errorMessage } from "../api/error-messages.js";
import { Problem } from "../api/problem.js";
import { ModelChoice } from "./model-choice.js";
import { t } from "../ui/strings.js";

/**
 * @typedef {object} Page
 * @property {import("../api/client.js").ApiClient} api
 * @property {import("./model-picker.js").ModelPicker} picker
 * @property {import("../ui/notifications.js").Notifications} notifications
 * @property {import("../conversation/sync.js").Sync} sync
 * @property {(error: unknown) => Promise<void>} failed a request about the session has failed
 * @property {() => void} changed something else is chosen
 */

export class ModelSwitcher {
  #choice;

  /** @param {import("../conversation/store.js").Store} store @param {Page} page */
  constructor(store, page) {
    this.store = store;
    this.page = page;
    this.#choice = new ModelChoice({
      session: () => (store.state.endReason ? null : store.state.session),
      asking: () => store.state.sending,
      switch: (model) => this.#switch(model),
      changed: page.changed,
    });
  }

  /** The model that answers next: the one that is chosen, or the session's; null: the picker's. */
  get shown() {
    const { session, endReason } = this.store.state;
    return this.#choice.shown ?? (endReason ? null : session?.model ?? null);
  }

  /** The model that the picker shows; empty: it knows of none yet. */
  get picked() {
    return this.page.picker.current;
  }

  /** The model to name with the first question of a session; null: the session has one. */
  get forNewSession() {
    if (this.store.state.session) return null;
    return this.page.sync.unsettled ? this.#choice.shown : this.picked || null;
  }

  /** @param {string} model */
  choose(model) {
    const { loading, sending, endReason, session } = this.store.state;
    const toCome = loading || sending || this.page.sync.unsettled; // then it will have a model of its own
    if (endReason || (!session && !toCome)) this.page.picker.current = model;
    else this.#choice.choose(model);
  }

  /** @returns {Promise<boolean>} whether the session has what was chosen before this, once it is tried */
  settle() {
    return this.#choice.settle();
  }

  /** The conversation is another one now, with a model of its own. */
  drop() {
    this.#choice.drop();
  }

  /** @param {string} model @returns {Promise<boolean>} whether it answers from now on */
  async #switch(model) {
    const { store, page } = this;
    const current = store.sameConversation();
    page.notifications.notify("");
    try {
      const { data, etag } = await page.api.switchModel(model, store.state.etag, store.state.live !== null);
      if (!current()) return false;
      store.dispatch({ type: "session", session: data, etag });
      page.notifications.announce(t("model.switched", { model: page.picker.label(model) }));
      return true;
    } catch (error) {
      if (!current()) return false;
      if (error instanceof Problem && error.status === 412) return this.#outdated(model, error);
      await page.failed(error);
      return false;
    }
  }

  /** The model was switched elsewhere first, perhaps to this one. @param {string} model @param {Problem} error */
  async #outdated(model, error) {
    const { store, page } = this;
    const current = store.sameConversation();
    await page.sync.refresh();
    if (!current() || !store.state.session) return false;
    const now = store.state.session.model;
    if (now !== model) {
      page.notifications.notify(t("model.switchedElsewhere", { error: errorMessage(error), model: page.picker.label(now) }));
    }
    return now === model;
  }
}
