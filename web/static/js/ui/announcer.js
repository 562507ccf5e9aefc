/** Announcements by screen reader: each when it comes or, of what changes all the time, the newest now and then. */

const PAUSE = 5_000;

export class Announcer {
  /** @type {number | undefined} */ #timer;
  #next = "";

  /** @param {HTMLElement} node a polite live region */
  constructor(node) {
    this.node = node;
  }

  /** Now; an update that was to come is outdated by it. @param {string} words */
  announce(words) {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#next = "";
    this.node.textContent = words;
  }

  /** At once, but not sooner than a pause after the last update. @param {string} words */
  update(words) {
    this.#next = words;
    if (this.#timer === undefined) this.#speak();
  }

  #speak() {
    this.#timer = undefined;
    if (!this.#next) return;
    this.node.textContent = this.#next;
    this.#next = "";
    this.#timer = setTimeout(() => this.#speak(), PAUSE);
  }
}
