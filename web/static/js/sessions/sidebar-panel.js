/** The sidebar's panel: a column on a wide screen, a drawer on others. */

import { closeOnBackdropClick } from "../ui/form-dialog.js";

const WIDE = matchMedia("(min-width: 60rem)");

export class SidebarPanel {
  /**
   * @param {{panel: HTMLElement, column: HTMLElement, drawer: HTMLDialogElement, opener: HTMLButtonElement}} parts
   * @param {() => void} opened
   */
  constructor(parts, opened) {
    this.parts = parts;
    const { drawer, opener } = parts;
    this.opened = opened;
    opener.addEventListener("click", () => this.open());
    drawer.addEventListener("close", () => { opener.ariaExpanded = "false"; });
    for (const closer of parts.panel.querySelectorAll("[data-close]")) closer.addEventListener("click", () => this.close());
    closeOnBackdropClick(drawer);
    WIDE.addEventListener("change", () => this.#place());
    this.#place();
  }

  /** Open the drawer; a column is open. */
  open() {
    if (WIDE.matches || this.parts.drawer.open) return;
    this.parts.drawer.showModal();
    this.parts.opener.ariaExpanded = "true";
    this.opened();
  }

  /** Close the drawer; a column stays. */
  close() {
    this.parts.drawer.close();
  }

  #place() {
    const { panel, column, drawer } = this.parts;
    drawer.close();
    (WIDE.matches ? column : drawer).append(panel);
  }
}
