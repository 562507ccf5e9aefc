/** A dialog with a form: it checks the fields, sends them, and shows each error beside its field. */

import { Problem } from "../api/problem.js";
import { focusIsFree } from "./focus.js";
import { errorMessage } from "../api/error-messages.js";
import { isComposing } from "./keys.js";
import { t } from "./strings.js";

/** @param {unknown} error */
export const slugOf = (error) => (error instanceof Problem ? error.slug : "");

export class FormDialog {
  #busy = false;

  /**
   * @param {HTMLDialogElement} dialog with a form; each field has its message in the element `<id>-error`,
   *   and `.form-error` is for the rest
   * @param {{send: (form: FormData) => Promise<void>, explain?: (error: unknown) => {field?: string, words: string} | null}} on
   *   `explain`: the failures that this form knows better words for
   */
  constructor(dialog, on) {
    this.dialog = dialog;
    this.on = on;
    this.form = /** @type {HTMLFormElement} */ (dialog.querySelector("form"));
    this.form.noValidate = true; // our own words, where they can be read
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.form.addEventListener("input", ({ target }) => {
      if (target instanceof HTMLInputElement) this.#showFieldError(target, "");
    });
    for (const toggle of dialog.querySelectorAll("[data-shows]")) {
      if (toggle instanceof HTMLButtonElement) wirePasswordToggle(toggle, this.#input(toggle.dataset.shows ?? ""));
    }
    for (const closer of dialog.querySelectorAll("[data-close]")) closer.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => this.#reset());
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && isComposing(event)) event.stopPropagation(); // it ends the composition only
    });
    closeOnBackdropClick(dialog);
  }

  /** With the focus where writing begins, and not on the button that closes. */
  open() {
    this.dialog.showModal();
    this.#inputs.find((input) => input.checkVisibility() && !input.readOnly)?.focus();
  }

  close() {
    this.dialog.close();
  }

  /** Remove all errors. */
  clear() {
    for (const input of this.#inputs) this.#showFieldError(input, "");
    this.#showFormError("");
  }

  get #inputs() {
    return [...this.form.elements].filter((element) => element instanceof HTMLInputElement);
  }

  /** @param {string} name */
  #input(name) {
    return /** @type {HTMLInputElement | null} */ (this.form.elements.namedItem(name));
  }

  async #submit() {
    if (this.#busy) return;
    this.clear();
    const bad = this.#inputs.filter((input) => this.#showFieldError(input, validationError(input)));
    if (bad.length > 0) return bad[0].focus();
    this.#setBusy(true);
    const from = document.activeElement;
    try {
      await this.on.send(new FormData(this.form));
    } catch (error) {
      this.#explain(error, from);
    } finally {
      this.#setBusy(false);
    }
  }

  /** @param {unknown} error @param {Element | null} from what had the focus when the form was sent */
  #explain(error, from) {
    if (!this.dialog.open) return; // what happened closed it
    const told = this.on.explain?.(error) ?? {
      field: error instanceof Problem ? error.field ?? undefined : undefined,
      words: errorMessage(error).replace(/^\w+: /, ""), // the field's name, which is beside it here
    };
    const input = told.field ? this.#input(told.field) : null;
    if (!input) return this.#showFormError(told.words);
    this.#showFieldError(input, told.words);
    if (!focusIsFree(from)) return;
    input.focus();
    input.select();
  }

  /** @param {string} words */
  #showFormError(words) {
    const wrong = /** @type {HTMLElement} */ (this.form.querySelector(".form-error"));
    wrong.textContent = words;
    wrong.hidden = !words;
  }

  /** @param {HTMLInputElement} input @param {string} words @returns {boolean} whether there is an error */
  #showFieldError(input, words) {
    const message = document.getElementById(`${input.id}-error`);
    if (!message) return false;
    message.textContent = words;
    message.hidden = !words;
    if (words) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
    return words !== "";
  }

  /** @param {boolean} busy */
  #setBusy(busy) {
    this.#busy = busy;
    this.form.ariaBusy = String(busy);
  }

  /** No password outlives its dialog. */
  #reset() {
    this.form.reset();
    this.clear();
    for (const toggle of this.form.querySelectorAll("[data-shows][aria-pressed=true]")) {
      if (toggle instanceof HTMLButtonElement) toggle.click();
    }
  }
}

/** What is wrong with a field; empty: nothing that the page can see. @param {HTMLInputElement} input */
function validationError({ value, required, minLength, dataset }) {
  if (required && value === "") return dataset.missing ?? t("field.needed");
  // As the server counts: code points of the normalised text.
  const length = [...value.normalize("NFC")].length;
  if (value !== "" && length < minLength) return t("field.tooShort", { length, least: minLength });
  return "";
}

/** @param {HTMLButtonElement} toggle @param {HTMLInputElement | null} input */
function wirePasswordToggle(toggle, input) {
  toggle.addEventListener("click", () => {
    const shown = toggle.ariaPressed !== "true";
    toggle.ariaPressed = String(shown);
    if (input) input.type = shown ? "text" : "password";
  });
}

/** A click on the backdrop closes, but not the end of a selection that began inside. @param {HTMLDialogElement} dialog */
export function closeOnBackdropClick(dialog) {
  let began = false;
  dialog.addEventListener("pointerdown", ({ target }) => { began = target === dialog; });
  dialog.addEventListener("click", ({ target }) => {
    if (began && target === dialog) dialog.close();
  });
}
