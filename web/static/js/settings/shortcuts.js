/** Keys for the whole page, and the sheet that tells them. */

import { isComposing } from "../ui/keys.js";
import { byId } from "../ui/dom.js";
import { closeOnBackdropClick } from "../ui/form-dialog.js";

/** @param {{compose: () => void, begin: () => void, search: () => void, settings: () => void}} on */
export function listenForShortcuts(on) {
  const sheet = byId("shortcuts", HTMLDialogElement);
  closeOnBackdropClick(sheet);
  for (const closer of sheet.querySelectorAll("[data-close]")) closer.addEventListener("click", () => sheet.close());
  const withModifier = /** @type {Record<string, () => void>} */ ({ O: on.begin, K: on.search, Comma: on.settings });
  document.addEventListener("keydown", (event) => {
    if (isComposing(event) || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if ((event.ctrlKey || event.metaKey) && event.shiftKey !== (event.code === "Comma")) {
      const act = withModifier[event.code.replace("Key", "")];
      if (!act || event.altKey) return;
      event.preventDefault();
      return act();
    }
    if (event.ctrlKey || event.metaKey || event.altKey || isWriting(event.target)) return;
    if (event.key === "?") sheet.showModal();
    else if (event.key === "/") on.compose();
    else return;
    event.preventDefault();
  });
}

/** Whether a key is a letter for what has the focus. @param {EventTarget | null} target */
const isWriting = (target) => target instanceof HTMLElement && target.matches("input, textarea, select, [contenteditable]");
