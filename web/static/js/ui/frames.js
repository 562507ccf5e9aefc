/** Work that may wait for the next picture: a burst of tokens is drawn once. */

/** Milliseconds after which it is done anyway: a hidden page has no pictures. */
const LONGEST = 100;

export class NextFrame {
  /** @type {number} */ #frame = 0;
  /** @type {number | undefined} */ #timer;

  /** @param {() => void} work */
  constructor(work) {
    this.work = work;
  }

  /** Do it with the next picture; several calls are one. */
  soon() {
    if (this.#timer !== undefined) return;
    this.#frame = requestAnimationFrame(() => this.now());
    this.#timer = setTimeout(() => this.now(), LONGEST);
  }

  /** Do it at once. */
  now() {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.work();
  }
}
