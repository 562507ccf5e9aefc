/** Where the list of conversations is: a column on a wide screen, a drawer on others. */

import { closesOutside } from "../ui/form-dialog.js";

const WIDE = matchMedia("(min-width: 60rem)");

export class SidebarPanel {
  /**
   * @param {{panel: HTMLElement, column: HTMLElement, drawer: HTMLDialogElement, opener: HTMLButtonElement}} parts
   * @param {() => void} opened
   */
  constructor(parts, opened) {
    this.parts = parts;
    const { drawer, opener } = parts;
    opener.addEventListener("click", () => {
      drawer.showModal();
      opener.ariaExpanded = "true";
      opened();
    });
    drawer.addEventListener("close", () => { opener.ariaExpanded = "false"; });
    for (const closer of parts.panel.querySelectorAll("[data-close]")) closer.addEventListener("click", () => this.close());
    closesOutside(drawer);
    WIDE.addEventListener("change", () => this.#place());
    this.#place();
  }

  /** Leave the drawer; a column stays. */
  close() {
    this.parts.drawer.close();
  }

  #place() {
    const { panel, column, drawer } = this.parts;
    drawer.close();
    (WIDE.matches ? column : drawer).append(panel);
  }
}
