/** What the reader is told beside the conversation: failures in a notice, news by screen reader and in a toast. */

import { describeError, errorMessage, isOutage, isTransient } from "../api/error-messages.js";
import { Announcer } from "./announcer.js";
import { byId } from "./dom.js";
import { Notice } from "./notice.js";
import { t } from "./strings.js";

const TOAST_DURATION = 1_500;
/** Milliseconds that the notice of an outage is there, however soon that is over: it has to be read. */
const OUTAGE_DURATION = 5_000;

export class Notifications {
  #announcer = new Announcer(byId("announcer"));
  #notice = new Notice(byId("notice"), () => this.announce(t("retry.nowAnnouncement")));
  #toast = byId("toast");
  /** Counts the notices, so that the end of one's reason takes no other away. */
  #shown = 0;
  /** @type {number | undefined} */ #toastTimer;

  /** @param {() => Promise<void> | undefined} recovered when the service answers again, asked now; undefined: that can't
   *   be known */
  constructor(recovered) {
    this.recovered = recovered;
  }

  /** Beside the message box. @param {string} words none: the notice goes
   * @param {Promise<void>} [over] when its reason has gone, and the notice with it */
  notify(words, over) {
    this.#notice.show(words);
    const number = ++this.#shown;
    void over?.then(() => { if (number === this.#shown) this.notify(""); });
  }

  /** @param {unknown} error why a request failed @param {Promise<void>} [over] when its reason has gone;
   *   absent: when the service answers again, where it was away */
  showError(error, over = this.#endOfOutage(error)) {
    const number = ++this.#shown;
    void over?.then(() => { if (number === this.#shown) this.notify(""); });
    if (isTransient(error) && error.retryAfter) this.#notice.show(describeError(error), error.retryAfter);
    else this.#notice.show(errorMessage(error));
  }

  /** @param {unknown} error @returns {Promise<void> | undefined} */
  #endOfOutage(error) {
    if (!isOutage(error)) return undefined;
    const readable = new Promise((resolve) => setTimeout(resolve, Math.max(OUTAGE_DURATION, 1_000 * (error.retryAfter ?? 0))));
    return this.recovered()?.then(async () => void (await readable));
  }

  /** By screen reader and, with `toast`, also on screen. @param {string} words @param {string} [toast] */
  announce(words, toast = "") {
    this.#announcer.announce(words);
    if (!toast) return;
    clearTimeout(this.#toastTimer);
    this.#toast.textContent = toast;
    this.#toast.hidden = false;
    this.#toastTimer = setTimeout(() => { this.#toast.hidden = true; }, TOAST_DURATION);
  }

  /** What the reader has asked for is done: the notice of what was refused before has lost its reason.
   * @param {string} words @param {string} [toast] */
  succeeded(words, toast) {
    this.notify("");
    this.announce(words, toast);
  }

  /** By screen reader, of what changes all the time. @param {string} words */
  announceUpdate(words) {
    this.#announcer.update(words);
  }
}
