// @ts-check
/** The models on offer, and which one answers next. */

/** @typedef {import("./api.js").Model} Model */

export class ModelPicker {
  /** @type {Model[]} */ #models = [];
  #current = "";

  /** @param {HTMLSelectElement} select @param {(model: string) => Promise<void>} choose */
  constructor(select, choose) {
    this.select = select;
    select.addEventListener("change", async () => {
      const model = select.value;
      select.disabled = true;
      await choose(model);
      select.disabled = false;
      this.current = this.#current; // whatever came of it
      select.focus();
    });
  }

  /** @param {Model[]} models */
  offer(models) {
    this.#models = models;
    this.select.replaceChildren(...models.map(({ name, label, available }) => {
      const option = new Option(available ? label : `${label} (unavailable)`, name);
      option.disabled = !available;
      return option;
    }));
    this.select.disabled = false;
    this.current = this.#current;
  }

  get current() {
    return this.#current;
  }

  /** Show this model, even one that is no longer on offer. */
  set current(/** @type {string} */ name) {
    this.#current = name;
    if (this.#models.length === 0) return;
    if (name && !this.#models.some((model) => model.name === name) && !this.select.querySelector("[data-retired]")) {
      const option = new Option(`${name} (retired)`, name);
      option.disabled = true;
      option.dataset.retired = "";
      this.select.append(option);
    }
    if (!this.select.disabled) this.select.value = name;
  }

  /** @param {string} name */
  label(name) {
    return this.#models.find((model) => model.name === name)?.label ?? name;
  }
}
