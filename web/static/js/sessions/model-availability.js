/** Which models there are, and which of them rest: asked for again now and then for as long as one does. */

const PERIOD = 10_000;
/** What the first answer may take to come, of a server that is just starting. */
const FIRST = 4_000;

/** @typedef {{default: string, models: import("../api/client.js").Model[]}} Offer */

export class ModelAvailability {
  /** @type {Promise<void> | null} */ #asking = null;
  /** @type {number | undefined} */ #timer;
  /** Whether all is known and well. */
  #settled = false;
  #known = false;

  /** @param {() => Promise<Offer>} ask @param {(offer: Offer) => void} tell */
  constructor(ask, tell) {
    this.ask = ask;
    this.tell = tell;
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) clearTimeout(this.#timer);
      else void this.refresh();
    });
  }

  /** Now; asked for twice at a time, it is the same. @returns {Promise<void>} when it is known, or could not be */
  refresh() {
    this.#asking ??= this.#refresh();
    return this.#asking;
  }

  async #refresh() {
    clearTimeout(this.#timer);
    try {
      const offer = await this.ask();
      this.#known = true;
      this.#settled = offer.models.every(({ available }) => available);
      this.tell(offer);
    } catch {
      this.#settled = false;
    }
    this.#asking = null;
    if (!this.#settled && !document.hidden) this.#again();
  }

  /** At a random moment, lest all pages ask at once. */
  #again() {
    const period = this.#known ? PERIOD : FIRST;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.refresh(), period * (0.75 + Math.random() / 2));
  }
}
