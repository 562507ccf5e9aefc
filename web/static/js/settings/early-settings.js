/** What the reader wants of a conversation that has no session yet: kept on the page until the first question makes
 * one. No DOM. */

/** @typedef {Readonly<{system_prompt: string | null, temperature: number | null}>} ConversationSettings */

/** @type {ConversationSettings} */
const NONE = { system_prompt: null, temperature: null };

export class EarlySettings {
  #wanted = NONE;

  get wanted() {
    return this.#wanted;
  }

  /** Whether there is anything for a session to be given. */
  get any() {
    return this.#wanted.system_prompt !== null || this.#wanted.temperature !== null;
  }

  /** @param {ConversationSettings} settings */
  want(settings) {
    this.#wanted = settings;
  }

  /** A session has them, or the conversation is another one now. */
  drop() {
    this.#wanted = NONE;
  }
}
