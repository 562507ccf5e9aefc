/**
 * When to try again: at a random moment within a window that doubles with each failure, so that the pages of a
 * restarted server do not all return in the same second.
 */

const FIRST_WINDOW = 1_000;
const WIDEST_WINDOW = 20_000;

export class Backoff {
  #failures = 0;

  /** Milliseconds from now. */
  next() {
    return Math.random() * Math.min(WIDEST_WINDOW, FIRST_WINDOW * 2 ** this.#failures++);
  }

  reset() {
    this.#failures = 0;
  }
}
