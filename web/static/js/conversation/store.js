/** The one owner of the state: it changes by actions only, is frozen, and each change is told to the subscribers. */

import { deepFreeze } from "./immutable.js";
import { initialState, isBusy, reduce } from "./reducer.js";

/**
 * @typedef {import("./reducer.js").State} State
 * @typedef {import("./reducer.js").Action} Action
 * @typedef {(now: State, before: State) => void} Subscriber
 */

export class Store {
  #state = deepFreeze(initialState);
  /** @type {Subscriber[]} */ #subscribers = [];
  /** @type {(() => void)[]} */ #waiting = [];

  get state() {
    return this.#state;
  }

  /** @param {Subscriber} subscriber called after each action, in the order of subscription */
  subscribe(subscriber) {
    this.#subscribers.push(subscriber);
  }

  /** @param {Action} action */
  dispatch(action) {
    const before = this.#state;
    this.#state = deepFreeze(reduce(before, { ...action, moment: performance.now() }));
    const now = this.#state;
    for (const subscriber of this.#subscribers) subscriber(now, before);
    if (!isBusy(now)) for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** @returns {Promise<void>} when no question is being answered */
  idle() {
    return isBusy(this.#state) ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve();
  }

  /**
   * A test for use after a wait: whether the conversation of this call is still the one on screen.
   * @returns {() => boolean}
   */
  sameConversation() {
    const { serial } = this.#state;
    return () => this.#state.serial === serial;
  }
}
