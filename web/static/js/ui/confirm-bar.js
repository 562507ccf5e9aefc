/** A question across the page, under its top: two answers, or Escape for neither. */

export class ConfirmBar {
  /** @type {((answer: boolean | null) => void) | null} */ #answer = null;

  /** @param {HTMLElement} bar @param {HTMLButtonElement} yes @param {HTMLButtonElement} no */
  constructor(bar, yes, no) {
    this.bar = bar;
    yes.addEventListener("click", () => this.#close(true));
    no.addEventListener("click", () => this.#close(false));
    bar.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#close(null);
    });
  }

  get asking() {
    return this.#answer !== null;
  }

  /** @param {HTMLElement | null} focus what comes into the reader's hand, if anything @returns {Promise<boolean | null>} */
  ask(focus) {
    this.dismiss();
    this.bar.hidden = false;
    focus?.focus();
    return new Promise((resolve) => { this.#answer = resolve; });
  }

  /** There is nothing to ask any more. */
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
