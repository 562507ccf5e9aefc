/** A question in a bar under the header: two answers, or Escape for neither. */

import { isEscape } from "./keys.js";

export class ConfirmBar {
  /** @type {((answer: boolean | null) => void) | null} */ #answer = null;

  /** @param {HTMLElement} bar @param {HTMLButtonElement} yes @param {HTMLButtonElement} no */
  constructor(bar, yes, no) {
    this.bar = bar;
    yes.addEventListener("click", () => this.#close(true));
    no.addEventListener("click", () => this.#close(false));
    bar.addEventListener("keydown", (event) => {
      if (!isEscape(event)) return;
      event.preventDefault(); // it stops no answer as well
      this.#close(null);
    });
  }

  get asking() {
    return this.#answer !== null;
  }

  /** @param {HTMLElement | null} focus the answer that gets the focus, if one does @returns {Promise<boolean | null>} */
  ask(focus) {
    this.dismiss();
    this.bar.hidden = false;
    focus?.focus();
    return new Promise((resolve) => { this.#answer = resolve; });
  }

  /** Take the question back: its answer is null. */
  dismiss() {
    this.#close(null);
  }

  /** @param {boolean | null} answer */
  #close(answer) {
    this.bar.hidden = true;
    this.#answer?.(answer);
    this.#answer = null;
  }
}
