/** The message box: grows with its text, sends on Enter, counts near the limit, and never loses a word. */

import { MAX_MESSAGE } from "../api/error-messages.js";
import { isComposing, isEscape } from "../ui/keys.js";
import { size } from "../ui/size.js";
import { t } from "../ui/strings.js";
import { messageOf } from "./message-text.js";

const COUNT_FROM = MAX_MESSAGE * 0.9;
/** A keyboard on a screen has no Shift and Enter: there Enter is for lines, and a button sends. */
const TOUCH = matchMedia("(hover: none) and (pointer: coarse)");

const bytes = new TextEncoder();

export class Composer {
  #ready = true;
  #busy = false;

  /**
   * @param {{form: HTMLFormElement, field: HTMLTextAreaElement, send: HTMLButtonElement,
   *   stop: HTMLButtonElement, count: HTMLElement, hint: HTMLElement}} parts
   * @param {{send: (text: string) => void, stop: () => Promise<void>, wait: () => void, written: (text: string) => void}} on
   *   `wait`: the reader tries to send while an answer is coming; `written`: what is in the box is another text
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
      // While an input method composes, Enter picks a word.
      if (event.key !== "Enter" || event.shiftKey || isComposing(event)) return;
      if (TOUCH.matches && !event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.#send();
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

  /** Whether an answer is on its way: writing goes on, sending has to wait. */
  set busy(/** @type {boolean} */ busy) {
    this.#busy = busy;
    this.#draw();
  }

  /** Whether there is an answer that can be stopped: then the button for it is where Send is. */
  set stoppable(/** @type {boolean} */ stoppable) {
    const { send, stop } = this.parts;
    if (stop.hidden === !stoppable) return;
    if (document.activeElement === stop) this.focus(); // it is about to go
    stop.hidden = !stoppable;
    send.hidden = stoppable;
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
    if (this.#busy) {
      if (this.text.trim()) this.on.wait();
      return;
    }
    const text = messageOf(this.text);
    if (!text || !this.#ready) return;
    this.text = "";
    this.on.send(text);
  }

  #measure() {
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
    this.parts.send.disabled = this.#busy || !this.#ready;
  }
}
