/** The menu of models for another answer. */

/** @typedef {import("../api/client.js").Model} Model */

export class ModelMenu {
  /** @param {HTMLElement} menu a popover @param {() => readonly Model[]} models on offer */
  constructor(menu, models) {
    this.menu = menu;
    this.models = models;
  }

  /** @param {HTMLElement} anchor the button that it belongs to @param {(model: string) => void} choose */
  open(anchor, choose) {
    const buttons = this.models().filter(({ available }) => available).map(({ name, label }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", () => {
        this.menu.hidePopover();
        choose(name);
      });
      return button;
    });
    this.menu.replaceChildren(...buttons);
    this.menu.showPopover();
    this.#place(anchor.getBoundingClientRect());
    buttons[0]?.focus();
  }

  /** Below the button or, where there is no room, above it. @param {DOMRect} anchor */
  #place({ top, bottom, right }) {
    const { offsetWidth: width, offsetHeight: height, style } = this.menu;
    style.left = `${Math.max(8, Math.min(right - width, innerWidth - width - 8))}px`;
    style.top = `${bottom + height < innerHeight ? bottom : Math.max(8, top - height)}px`;
  }
}
