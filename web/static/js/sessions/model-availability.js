/** Which models there are, and which are available: fetched again now and then while one is not. */

const REFRESH_PERIOD = 10_000;
/** The period until the first answer, which a server that is just starting may not give at once. */
const FIRST_RETRY = 4_000;

/** @typedef {{default: string, models: import("../api/client.js").Model[]}} Offer */

export class ModelAvailability {
  /** @type {Promise<void> | null} */ #asking = null;
  /** @type {number | undefined} */ #timer;
  /** Whether all models are known and available. */
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

  /** Fetch now, or join a fetch under way. @returns {Promise<void>} when it has ended, either way */
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
    if (!this.#settled && !document.hidden) this.#schedule();
  }

  /** At a random moment, so that pages do not ask all at once. */
  #schedule() {
    const period = this.#known ? REFRESH_PERIOD : FIRST_RETRY;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.refresh(), period * (0.75 + Math.random() / 2));
  }
}
