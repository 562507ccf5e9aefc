/**
 * The reader's choice of a model, until the session has it. One switch at a time, for each needs the version that the
 * one before it made; of the choices made meanwhile the last one counts. No DOM.
 */

/** @typedef {import("../api/client.js").Session} Session */

export class ModelChoice {
  /** @type {string | null} */ #wanted = null;
  /** Chosen while a question is on its way, which went out for the choice before. @type {string | null} */
  #next = null;
  /** @type {Promise<boolean> | null} */ #switching = null;

  /**
   * @param {object} on
   * @param {() => Session | null} on.session what can be switched, if it is known by now
   * @param {() => boolean} on.asking whether a question is on its way
   * @param {(model: string) => Promise<boolean>} on.switch switch the session; false: it can't be, and the reader
   *   knows why. Never fails
   * @param {() => void} on.changed something else is chosen
   */
  constructor(on) {
    this.on = on;
  }

  /** The model that is chosen, where the session has not got it yet. */
  get shown() {
    return this.#next ?? this.#wanted;
  }

  /** @param {string} model */
  choose(model) {
    if (this.on.asking()) this.#next = model;
    else this.#wanted = model;
    this.on.changed();
    void this.settle();
  }

  /** The conversation is another one now, with a model of its own. */
  drop() {
    this.#wanted = this.#next = null;
  }

  /** @returns {Promise<boolean>} whether the session has what was chosen before this, once it is tried */
  settle() {
    this.#switching ??= this.#settle().finally(() => { this.#switching = null; });
    return this.#switching;
  }

  async #settle() {
    let done = true;
    for (let model = this.#due(); model !== null; model = this.#due()) {
      done = this.on.session()?.model === model || (await this.on.switch(model));
      if (this.#wanted === model) this.#wanted = null;
      this.on.changed();
    }
    return done;
  }

  /** What to switch to now. */
  #due() {
    if (!this.on.asking() && this.#next !== null) [this.#wanted, this.#next] = [this.#next, null];
    return this.on.session() ? this.#wanted : null;
  }
}
