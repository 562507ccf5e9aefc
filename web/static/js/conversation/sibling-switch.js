/** "2 of 3": which of the messages that follow the same one is shown, and the way to those beside it. */

import { iconButton } from "../ui/button.js";
import { t } from "../ui/strings.js";

/** @typedef {import("./reducer.js").Item} Item */

export class SiblingSwitch {
  /** @type {readonly string[]} */ #siblings = [];
  #index = 0;

  /** @param {(id: string, words: string) => void} turnTo another one is wanted: its id, and which one that is */
  constructor(turnTo) {
    this.turnTo = turnTo;
    this.node = document.createElement("span");
    this.node.className = "siblings";
    this.words = document.createElement("span");
    this.previous = iconButton("previous", t("siblings.previous"), () => this.#turn(-1));
    this.next = iconButton("next", t("siblings.next"), () => this.#turn(1));
    this.node.append(this.previous, this.words, this.next);
  }

  /** @param {Item} item */
  show({ id, siblings = [] }) {
    this.#siblings = siblings;
    this.#index = siblings.indexOf(id ?? "");
    this.node.hidden = siblings.length < 2 || this.#index < 0;
    this.words.textContent = this.node.hidden ? "" : this.#place(this.#index);
    // At either end a button stays what it is: one that is disabled altogether would throw the focus away.
    this.previous.ariaDisabled = String(this.#index <= 0);
    this.next.ariaDisabled = String(this.#index >= siblings.length - 1);
  }

  /** @param {-1 | 1} step */
  #turn(step) {
    const wanted = this.#siblings[this.#index + step];
    if (wanted) this.turnTo(wanted, this.#place(this.#index + step));
  }

  /** @param {number} index */
  #place(index) {
    return t("siblings.place", { number: index + 1, count: this.#siblings.length });
  }
}
