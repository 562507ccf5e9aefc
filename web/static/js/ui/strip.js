// @ts-check
/** A question across the page, under its top: two answers, or Escape for neither. */

export class Strip {
  /** @type {((answer: boolean | null) => void) | null} */ #answer = null;

  /** @param {HTMLElement} strip @param {HTMLButtonElement} yes @param {HTMLButtonElement} no */
  constructor(strip, yes, no) {
    this.strip = strip;
    yes.addEventListener("click", () => this.#close(true));
    no.addEventListener("click", () => this.#close(false));
    strip.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#close(null);
    });
  }

  get asking() {
    return this.#answer !== null;
  }

  /** @param {HTMLElement | null} focus what comes into the reader's hand, if anything @returns {Promise<boolean | null>} */
  ask(focus) {
    this.withdraw();
    this.strip.hidden = false;
    focus?.focus();
    return new Promise((resolve) => { this.#answer = resolve; });
  }

  /** There is nothing to ask any more. */
  withdraw() {
    this.#close(null);
  }

  /** @param {boolean | null} answer */
  #close(answer) {
    this.strip.hidden = true;
    this.#answer?.(answer);
    this.#answer = null;
  }
}
