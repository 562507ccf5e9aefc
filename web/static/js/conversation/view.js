/** Shows a state: the messages, the message box, and what stands in their place. */

import { byId } from "../ui/dom.js";
import { isBusy, items } from "./reducer.js";
import { t } from "../ui/strings.js";

export class ConversationView {
  #earlier = byId("earlier");
  #empty = byId("empty");
  #away = byId("away");
  #missing = byId("missing");
  #new = byId("new");
  #ended = byId("ended");
  #endedReason = byId("ended-reason");
  #form = byId("composer");

  /**
   * @param {import("./message-list.js").MessageList} messageList
   * @param {import("./composer.js").Composer} composer
   */
  constructor(messageList, composer) {
    this.messageList = messageList;
    this.composer = composer;
  }

  /** @param {import("./reducer.js").State} state */
  render(state) {
    const shown = items(state);
    const ended = state.endReason !== null;
    this.messageList.show(shown, state.live !== null || state.stale, !isBusy(state) && !ended);
    this.composer.busy = state.sending || state.pending !== null || state.queueing !== null;
    this.composer.stoppable = state.live !== null && state.pending === null;
    this.#earlier.hidden = state.earlier === null;
    const away = state.away && state.session === null && shown.length === 0;
    this.#empty.hidden = state.loading || shown.length > 0 || ended || state.missing || away;
    this.#away.hidden = !away;
    this.#missing.hidden = !state.missing;
    this.#new.hidden = ended || (shown.length === 0 && !state.session && !state.missing);
    this.#ended.hidden = !ended;
    this.#form.hidden = ended || state.missing;
    this.#endedReason.textContent = [
      state.endReason ?? "", t(this.composer.text.trim() ? "ended.draftKept" : "ended.stillReadable"),
    ].join(" ");
  }
}
