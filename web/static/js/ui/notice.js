/** The notice beside the message box, with a countdown where it is known when to try again. */

import { retryHint } from "../api/error-messages.js";
import { t } from "./strings.js";

export class Notice {
  /** @type {number | undefined} */ #timer;

  /** @param {HTMLElement} node an alert @param {() => void} ended the wait has come to its end */
  constructor(node, ended) {
    this.node = node;
    this.ended = ended;
  }

  /** @param {string} words none: it goes @param {number | null} [seconds] after which trying again makes sense */
  show(words, seconds = null) {
    clearInterval(this.#timer);
    this.node.hidden = !words;
    this.node.textContent = words;
    if (words && seconds) this.#countDown(seconds);
  }

  /** A screen reader hears the time once, and then its end. @param {number} seconds */
  #countDown(seconds) {
    const until = Date.now() + seconds * 1_000;
    const [spoken, seen] = [document.createElement("span"), document.createElement("span")];
    spoken.className = "visually-hidden";
    spoken.textContent = retryHint(seconds);
    seen.ariaHidden = "true";
    seen.textContent = spoken.textContent;
    this.node.append(" ", spoken, seen);
    this.#timer = setInterval(() => {
      const left = Math.ceil((until - Date.now()) / 1_000);
      seen.textContent = left > 0 ? retryHint(left) : t("retry.now");
      if (left > 0) return;
      clearInterval(this.#timer);
      spoken.remove();
      this.ended();
    }, 1_000);
  }
}
