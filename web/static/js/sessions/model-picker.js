/** The models on offer, and which one answers next. */

import { t } from "../ui/strings.js";

/** @typedef {import("../api/client.js").Model} Model */

export class ModelPicker {
  /** @type {Model[]} */ #models = [];
  #current = "";

  /**
   * @param {HTMLSelectElement} select
   * @param {(model: string) => void} choose
   * @param {() => void} opening the reader is about to see the list
   */
  constructor(select, choose, opening) {
    this.select = select;
    select.addEventListener("focus", opening);
    select.addEventListener("pointerdown", opening);
    // It stays enabled while a choice is carried out: one that is disabled loses the focus, and the next key.
    select.addEventListener("change", () => choose(select.value));
  }

  /**
   * Options stay what they are where they can: the list may be open just now.
   * @param {Model[]} models
   */
  offer(models) {
    const first = this.#models.length === 0;
    if (!sameNames(models, this.#models)) this.select.replaceChildren(...models.map(({ name }) => new Option(name, name)));
    this.#models = models;
    for (const [index, { label, available }] of models.entries()) {
      const option = this.select.options[index];
      const text = available ? label : t("model.unavailable", { model: label });
      if (option.text !== text) option.text = text;
      if (option.disabled === available) option.disabled = !available;
    }
    if (first) this.select.disabled = false;
    this.current = this.#current;
  }

  /** Those on offer. */
  get models() {
    return this.#models;
  }

  get current() {
    return this.#current;
  }

  /** Show this model, even one that is no longer on offer. */
  set current(/** @type {string} */ name) {
    this.#current = name;
    if (this.#models.length === 0) return;
    if (name && !this.#models.some((model) => model.name === name) && !this.select.querySelector("[data-retired]")) {
      const option = new Option(t("model.retired", { model: name }), name);
      option.disabled = true;
      option.dataset.retired = "";
      this.select.append(option);
    }
    if (this.select.value !== name) this.select.value = name;
  }

  /** @param {string} name */
  label(name) {
    return this.#models.find((model) => model.name === name)?.label ?? name;
  }
}

/** @param {Model[]} a @param {Model[]} b */
const sameNames = (a, b) => a.length === b.length && a.every(({ name }, index) => name === b[index].name);
