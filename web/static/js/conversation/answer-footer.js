/** Under an answer: how it stands with it, and what can be done with it. Its buttons stay, so that none of them loses the
 * focus to another that takes its place. */

import { textButton, iconButton } from "../ui/button.js";
import { copyText } from "../ui/clipboard.js";
import { t } from "../ui/strings.js";
import { recoveryAction } from "./answer-status.js";
import { SiblingSwitch } from "./sibling-switch.js";

/**
 * @typedef {import("./reducer.js").Item} Item
 *
 * @typedef {object} On
 * @property {(ok: boolean) => void} copied
 * @property {(answer: Item) => void} again another answer is wanted beside it
 * @property {(answer: Item, anchor: HTMLElement) => void} againWith the same, by a model yet to be chosen
 * @property {(answer: Item) => void} goOn the rest of it is wanted
 * @property {(id: string, words: string) => void} turnTo
 */

export class AnswerFooter {
  /** @type {Item | null} */ #item = null;

  /** @param {On} on */
  constructor(on) {
    this.node = document.createElement("p");
    this.node.className = "answer-footer";
    this.status = document.createElement("span");
    this.status.className = "answer-status";
    this.siblings = new SiblingSwitch(on.turnTo);
    this.copy = textButton(t("message.copy"), t("message.copyLabel"), async () => on.copied(await copyText(this.#item?.text ?? "")));
    this.again = textButton("", "", () => this.#item && on.again(this.#item));
    this.againWith = iconButton("down", t("message.againWith"), () => this.#item && on.againWith(this.#item, this.againWith));
    this.againWith.ariaHasPopup = "true";
    this.goOn = textButton(t("message.continue"), t("message.continueLabel"), () => this.#item && on.goOn(this.#item));
    const actions = document.createElement("span");
    actions.className = "actions";
    actions.append(this.siblings.node, this.copy, this.goOn, this.again, this.againWith);
    for (const each of [this.siblings.node, this.again, this.againWith, this.goOn]) each.classList.add("when-idle");
    this.node.append(this.status, actions);
  }

  /** @param {Item} item @param {boolean} isLast @param {string} words how it stands with it */
  show(item, isLast, words) {
    this.#item = item;
    this.status.textContent = words;
    const ended = item.state !== "streaming";
    const recovery = isLast ? recoveryAction(item) : null;
    this.siblings.show(item);
    this.copy.hidden = !ended || !item.text;
    this.goOn.hidden = recovery !== "continue";
    this.again.hidden = this.againWith.hidden = !ended || !item.id;
    this.again.textContent = t(recovery === "retry" ? "message.retry" : "message.again");
    this.again.ariaLabel = t(recovery === "retry" ? "message.retry" : "message.againLabel");
  }
}
