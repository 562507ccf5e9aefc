/** What can be done with a question: edit it, and turn to those beside it. */

import { iconButton } from "../ui/button.js";
import { t } from "../ui/strings.js";
import { InlineEditor } from "./inline-editor.js";
import { SiblingSwitch } from "./sibling-switch.js";

/**
 * @typedef {import("./reducer.js").Item} Item
 *
 * @typedef {object} On
 * @property {(question: Item, text: string) => Promise<boolean>} edit false: it can't be done, and the reader knows why
 * @property {(id: string, words: string) => void} turnTo
 * @property {(text: string, focused: boolean) => void} orphaned the reader was writing this, and what it was about is not shown
 *   any more
 */

export class QuestionActions {
  /** @type {Item | null} */ #item = null;
  /** @type {InlineEditor | null} */ #editor = null;

  /** @param {HTMLElement} body where the question's words are @param {On} on */
  constructor(body, on) {
    this.body = body;
    this.on = on;
    this.node = document.createElement("p");
    this.node.className = "question-actions actions";
    this.siblings = new SiblingSwitch(on.turnTo);
    this.siblings.node.classList.add("when-idle");
    this.editButton = iconButton("rename", t("message.edit"), () => this.edit());
    this.editButton.classList.add("edit");
    this.node.append(this.siblings.node, this.editButton);
  }

  /** @param {Item} item */
  show(item) {
    if (item.id !== this.#item?.id) this.leave();
    this.#item = item;
    this.node.hidden = !item.id || this.#editor !== null;
    this.siblings.show(item);
  }

  /** Let the reader write it anew, in its place. */
  edit() {
    const item = this.#item;
    if (!item?.id || this.#editor) return;
    const editor = new InlineEditor(item.text, t("message.editLabel"), t("composer.send"), {
      save: (text) => this.on.edit(item, text),
      closed: () => this.#closed(),
    });
    this.#editor = editor;
    this.body.hidden = this.node.hidden = true;
    this.body.after(editor.node);
    editor.focus();
  }

  /** Its question is not here any more. What was written of it is not lost for that. */
  leave() {
    const editor = this.#editor;
    if (!editor) return;
    const { text, focused, saving } = editor;
    editor.close();
    if (!saving && text !== this.#item?.text) this.on.orphaned(text, focused);
  }

  #closed() {
    this.#editor = null;
    this.body.hidden = this.node.hidden = false;
  }
}
