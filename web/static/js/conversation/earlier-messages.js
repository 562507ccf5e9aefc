/** The button above the first message: it fetches the page of messages before that one. */

import { byId } from "../ui/dom.js";
import { focusIsFree } from "../ui/focus.js";
import { t } from "../ui/strings.js";

export class EarlierMessages {
  #button = byId("earlier");

  /**
   * @param {import("./store.js").Store} store
   * @param {object} page
   * @param {import("../api/client.js").ApiClient} page.api
   * @param {import("../ui/stick-to-bottom.js").StickToBottom} page.stickToBottom
   * @param {import("../ui/notifications.js").Notifications} page.notifications
   * @param {(error: unknown) => Promise<void>} page.failed a request about the session has failed
   */
  constructor(store, page) {
    this.store = store;
    this.page = page;
    this.#button.addEventListener("click", () => void this.#show());
  }

  async #show() {
    const { store, page } = this;
    const current = store.sameConversation();
    const { earlier: before } = store.state;
    if (this.#button.ariaDisabled === "true") return;
    this.#button.ariaDisabled = "true"; // a button that is disabled altogether would throw the focus away
    try {
      const { messages, before: earlier } = await page.api.transcript(before);
      if (!current()) return;
      page.stickToBottom.keepPlace(() => store.dispatch({ type: "earlier", before, messages, earlier }));
      page.notifications.succeeded(t(earlier ? "earlier.some" : "earlier.all"));
      if (!earlier && focusIsFree(this.#button)) byId("scroller").focus({ preventScroll: true }); // the button is gone
    } catch (error) {
      if (current()) await page.failed(error);
    } finally {
      this.#button.ariaDisabled = "false";
    }
  }
}
