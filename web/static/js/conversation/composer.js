/** The message box: grows with its text, sends on Enter, counts near the limit, and never loses a word. */

import { MAX_MESSAGE } from "../api/error-messages.js";
import { isBlank } from "../ui/blank.js";
import { isComposing, isEscape, isSending, TOUCH } from "../ui/keys.js";
import { size } from "../ui/size.js";
import { t } from "../ui/strings.js";
import { messageOf } from "./message-text.js";

const COUNT_FROM = MAX_MESSAGE * 0.9;

const bytes = new TextEncoder();

export class Composer {
  #ready = true;
  #busy = false;
  #stoppable = false;
  /** The reader has sent this while another question was on its way: it follows that. */
  #due = false;

  /**
   * @param {{form: HTMLFormElement, field: HTMLTextAreaElement, send: HTMLButtonElement,
   *   stop: HTMLButtonElement, count: HTMLElement, hint: HTMLElement}} parts
   * @param {{send: (text: string) => void, stop: () => Promise<void>, editLast: () => void, written: (text: string) => void}} on
   *   `editLast`: the reader wants to edit the last question; `written`: what is in the box is another text
   */
  constructor(parts, on) {
    this.parts = parts;
    this.on = on;
    const { form, field } = parts;
    field.addEventListener("input", () => {
      this.#measure();
      on.written(field.value);
    });
    const describeKeys = () => {
      field.enterKeyHint = TOUCH.matches ? "enter" : "send";
      parts.hint.textContent = t(TOUCH.matches ? "composer.hintTouch" : "composer.hint");
    };
    TOUCH.addEventListener("change", describeKeys);
    describeKeys();
    field.addEventListener("keydown", (event) => {
      if (isSending(event)) {
        event.preventDefault();
        this.#send();
      } else if (event.key === "ArrowUp" && !this.text && !isComposing(event)) {
        event.preventDefault();
        on.editLast();
      }
    });
    parts.stop.addEventListener("click", () => void this.#stop());
    document.addEventListener("keydown", (event) => {
      // What is open above the conversation is closed first.
      if (!isEscape(event) || event.defaultPrevented || document.querySelector("dialog[open], :popover-open")) return;
      if (!parts.stop.hidden) void this.#stop();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#measure(); // a browser may bring back what was typed before a reload
  }

  get text() {
    return this.parts.field.value;
  }

  /** @param {string} text */
  set text(text) {
    this.parts.field.value = text;
    this.#measure();
    this.on.written(text);
  }

  /** Show what was written before. @param {string} text */
  show(text) {
    this.parts.field.value = text;
    this.#measure();
  }

  /** Bring back what couldn't be sent, before what was typed meanwhile. @param {string} text */
  restore(text) {
    this.text = this.text.trim() ? `${text}\n${this.text}` : text;
  }

  /** On a phone, focus would raise the keyboard over half of the page. */
  focus() {
    if (matchMedia("(pointer: fine)").matches) this.parts.field.focus();
  }

  /** Whether a question is on its way: writing goes on, sending has to wait. */
  set busy(/** @type {boolean} */ busy) {
    if (busy === this.#busy) return;
    this.#busy = busy;
    this.#draw();
    if (!busy && this.#due) queueMicrotask(() => this.#send()); // after the state that is being shown
  }

  /** Whether there is an answer that can be stopped. What is sent then waits for its end. */
  set stoppable(/** @type {boolean} */ stoppable) {
    const { stop, send } = this.parts;
    if (this.#stoppable === stoppable) return;
    this.#stoppable = stoppable;
    if (!stoppable && document.activeElement === stop) this.focus(); // it is about to go
    stop.hidden = !stoppable;
    send.ariaLabel = t(stoppable ? "composer.sendLater" : "composer.send");
    this.#draw();
  }

  async #stop() {
    const { stop } = this.parts;
    if (stop.disabled) return; // once is enough
    stop.disabled = true;
    this.focus();
    await this.on.stop();
    stop.disabled = false;
  }

  #send() {
    const text = messageOf(this.text);
    if (!text || !this.#ready) return;
    this.#due = this.#busy;
    if (this.#busy) return;
    this.text = "";
    this.on.send(text);
  }

  #measure() {
    this.#due = false; // it is another text
    const { field, count } = this.parts;
    /** @type {HTMLElement} */ (field.parentElement).dataset.text = field.value;
    const used = bytes.encode(messageOf(field.value)).length;
    const left = MAX_MESSAGE - used;
    this.#ready = used > 0 && left >= 0;
    count.textContent =
      used < COUNT_FROM ? "" : left >= 0 ? t("composer.left", { size: size(left) }) : t("composer.over", { size: size(-left) });
    count.classList.toggle("bad", left < 0);
    field.ariaInvalid = String(left < 0);
    this.#draw();
  }

  #draw() {
    const { send } = this.parts;
    send.disabled = this.#busy || !this.#ready;
    send.hidden = this.#stoppable && isBlank(this.text); // the button to stop is in its place
  }
}
