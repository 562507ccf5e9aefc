/** The title and the icon of the page: which conversation it is, and that an answer ended while nobody looked. */

import { t } from "../ui/strings.js";

const PROJECT = "Switchboard";
/** Characters of a question that stand for a title. */
const MAX_LENGTH = 60;

/** One line, cut between two characters. @param {string} words */
export function shortTitle(words) {
  const characters = [...words.trim().replace(/\s+/g, " ")];
  return characters.length > MAX_LENGTH ? `${characters.slice(0, MAX_LENGTH - 1).join("").trimEnd()}…` : characters.join("");
}

export class PageTitle {
  #conversation = "";
  #ready = false;

  /** @param {HTMLLinkElement} icon */
  constructor(icon) {
    this.icon = icon;
    this.plainIcon = icon.href;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#mark(false);
    });
  }

  /** The title of the conversation on screen; empty: it has none. */
  set conversation(/** @type {string} */ title) {
    this.#conversation = shortTitle(title);
    this.#draw();
  }

  get conversation() {
    return this.#conversation;
  }

  /** An answer has ended. @returns {boolean} whether out of sight */
  answerEnded() {
    if (document.hidden) this.#mark(true);
    return document.hidden;
  }

  /** @param {boolean} ready */
  #mark(ready) {
    if (ready === this.#ready) return;
    this.#ready = ready;
    this.icon.href = ready ? this.icon.dataset.ready ?? "" : this.plainIcon;
    this.#draw();
  }

  #draw() {
    const title = [this.#conversation, PROJECT].filter(Boolean).join(" · ");
    const shown = this.#ready ? `● ${t("title.ready")} · ${title}` : title;
    if (document.title !== shown) document.title = shown;
  }
}
