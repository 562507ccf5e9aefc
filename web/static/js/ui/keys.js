/** Keys, as readers mean them. */

/** Whether an input method is composing: its keys are not the page's. Safari reports the last one as key code 229.
 * @param {KeyboardEvent} event */
export const isComposing = (event) => event.isComposing || event.keyCode === 229;

/** @param {KeyboardEvent} event */
export const isEscape = (event) => event.key === "Escape" && !isComposing(event);

/** A keyboard on a screen has no Shift and Enter: there Enter is for lines, and a button sends. */
export const TOUCH = matchMedia("(hover: none) and (pointer: coarse)");

/** Whether a key sends what is written. While an input method composes, Enter picks a word. @param {KeyboardEvent} event */
export const isSending = (event) => event.key === "Enter" && !event.shiftKey && !isComposing(event)
  && (!TOUCH.matches || event.ctrlKey || event.metaKey);
