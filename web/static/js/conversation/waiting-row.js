/** A question that waits for the end of the answer, as it is shown below that. */

import { textButton } from "../ui/button.js";
import { t } from "../ui/strings.js";
import { InlineEditor } from "./inline-editor.js";

/**
 * @typedef {object} On
 * @property {(text: string) => Promise<boolean>} edit false: it can't be done, and the reader knows why
 * @property {() => void} remove
 */

export class WaitingRow {
  #words = document.createElement("p");
  #foot = document.createElement("p");
  #status = document.createElement("span");
  /** @type {InlineEditor | null} */ #editor = null;

  /** @param {string} text @param {On | null} on null: it is only on its way there */
  constructor(text, on) {
    this.on = on;
    this.node = document.createElement("li");
    this.#words.className = "body";
    this.#words.dir = "auto";
    this.#foot.className = "waiting-footer";
    this.#foot.append(this.#status);
    if (on) {
      const actions = document.createElement("span");
      actions.className = "actions";
      actions.append(
        textButton(t("waiting.edit"), t("waiting.editLabel"), () => this.edit()),
        textButton(t("waiting.remove"), t("waiting.removeLabel"), on.remove),
      );
      this.#foot.append(actions);
    }
    this.node.append(this.#words, this.#foot);
    this.text = text;
  }

  /** @param {boolean} does whether it is next when this answer ends; else others are before it, or limits hold it back */
  waitsForAnswer(does) {
    const words = t(does ? "waiting.status" : "waiting.turn");
    if (words !== this.#status.textContent) this.#status.textContent = words;
  }

  get text() {
    return this.#words.textContent ?? "";
  }

  set text(/** @type {string} */ text) {
    if (text !== this.text) this.#words.textContent = text;
  }

  /** What the reader has changed of it, and not saved; empty: nothing. */
  get unsaved() {
    const text = this.#editor?.text ?? "";
    return text === this.text ? "" : text;
  }

  /** Let the reader write it anew, in its place. */
  edit() {
    const { on } = this;
    if (!on || this.#editor) return;
    this.#editor = new InlineEditor(this.text, t("message.editLabel"), t("save"), {
      save: on.edit,
      closed: () => {
        this.#editor = null;
        this.#words.hidden = this.#foot.hidden = false;
      },
    });
    this.#words.hidden = this.#foot.hidden = true;
    this.node.append(this.#editor.node);
    this.#editor.focus();
  }
}
