/** A small message box in the place of a message, which is written anew there. */

import { MAX_MESSAGE } from "../api/error-messages.js";
import { isEscape, isSending } from "../ui/keys.js";
import { size } from "../ui/size.js";
import { t } from "../ui/strings.js";
import { messageOf } from "./message-text.js";

const bytes = new TextEncoder();

export class InlineEditor {
  #field = document.createElement("textarea");
  #wrapper = document.createElement("div");
  #error = document.createElement("p");
  #save = document.createElement("button");
  #saving = false;

  /**
   * @param {string} text @param {string} label @param {string} save what the button says
   * @param {{save: (text: string) => Promise<boolean>, closed: () => void}} on
   *   `save`: false where it can't be done, and the reader knows why: then the words stay
   */
  constructor(text, label, save, on) {
    this.on = on;
    this.before = document.activeElement;
    this.node = document.createElement("form");
    this.node.className = "inline-editor";
    this.#wrapper.className = "autosize";
    this.#field.ariaLabel = label;
    this.#field.dir = "auto";
    this.#field.rows = 1;
    this.#field.value = text;
    this.#error.className = "error";
    this.#error.role = "alert";
    this.#save.className = "primary";
    this.#save.textContent = save;
    const cancel = document.createElement("button");
    cancel.type = "button";
    cancel.className = "secondary";
    cancel.textContent = t("cancel");
    const answers = document.createElement("div");
    answers.className = "actions";
    answers.append(this.#save, cancel);
    this.#wrapper.append(this.#field);
    this.node.append(this.#wrapper, this.#error, answers);
    cancel.addEventListener("click", () => this.close());
    this.#field.addEventListener("input", () => this.#measure());
    this.node.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.node.addEventListener("keydown", (event) => this.#press(event));
    this.#measure();
  }

  get text() {
    return this.#field.value;
  }

  get focused() {
    return this.node.contains(document.activeElement);
  }

  /** Whether its words are on their way already. */
  get saving() {
    return this.#saving;
  }

  focus() {
    this.#field.focus();
    this.#field.setSelectionRange(this.#field.value.length, this.#field.value.length);
  }

  /** The message is shown again, with the focus where it came from. */
  close() {
    const { focused } = this;
    this.node.remove();
    this.on.closed();
    if (focused && this.before instanceof HTMLElement) this.before.focus();
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    if (isEscape(event)) {
      event.preventDefault(); // or the answer would be stopped as well
      this.close();
    } else if (event.target === this.#field && isSending(event)) {
      event.preventDefault();
      void this.#submit();
    }
  }

  async #submit() {
    if (this.#saving || this.#save.disabled) return;
    this.#saving = true;
    this.node.ariaBusy = "true";
    const done = await this.on.save(messageOf(this.#field.value));
    this.#saving = false;
    this.node.ariaBusy = "false";
    if (done && this.node.isConnected) this.close();
  }

  #measure() {
    this.#wrapper.dataset.text = this.#field.value;
    const used = bytes.encode(messageOf(this.#field.value)).length;
    const over = used - MAX_MESSAGE;
    this.#save.disabled = used === 0 || over > 0;
    this.#error.textContent = over > 0 ? t("composer.over", { size: size(over) }) : "";
  }
}
