/** The message box: grows with its text, sends on Enter, counts near the limit, and never loses a word. */

import { t } from "../ui/strings.js";

const LIMIT = 32 * 1024; // bytes of UTF-8, as the server counts them
const COUNT_FROM = LIMIT * 0.9;

const bytes = new TextEncoder();

export class Composer {
  #ready = true;
  #busy = false;

  /**
   * @param {{form: HTMLFormElement, field: HTMLTextAreaElement, send: HTMLButtonElement,
   *   stop: HTMLButtonElement, count: HTMLElement}} parts
   * @param {{send: (text: string) => void, stop: () => Promise<void>, wait: () => void}} on
   *   `wait`: the reader tries to send while an answer is coming
   */
  constructor(parts, on) {
    this.parts = parts;
    this.on = on;
    const { form, field } = parts;
    field.addEventListener("input", () => this.#measure());
    field.addEventListener("keydown", (event) => {
      // While an input method composes, Enter picks a word; Safari reports that Enter as key code 229.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.#send();
    });
    parts.stop.addEventListener("click", async () => {
      parts.stop.disabled = true; // once is enough
      this.focus();
      await this.on.stop();
      parts.stop.disabled = false;
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

  #send() {
    if (this.#busy) {
      if (this.text.trim()) this.on.wait();
      return;
    }
    const text = this.text.trim();
    if (!text || !this.#ready) return;
    this.text = "";
    this.on.send(text);
  }

  #measure() {
    const { field, count } = this.parts;
    /** @type {HTMLElement} */ (field.parentElement).dataset.text = field.value;
    const used = bytes.encode(field.value.trim()).length;
    const left = LIMIT - used;
    this.#ready = used > 0 && left >= 0;
    count.textContent =
      used < COUNT_FROM ? "" : left >= 0 ? t("composer.left", { count: left }) : t("composer.over", { count: -left });
    count.classList.toggle("bad", left < 0);
    field.ariaInvalid = String(left < 0);
    this.#draw();
  }

  #draw() {
    this.parts.send.disabled = this.#busy || !this.#ready;
  }
}
