/** Keys, as readers mean them. */

/** Whether an input method is composing: its keys are not the page's. Safari reports the last one as key code 229.
 * @param {KeyboardEvent} event */
export const isComposing = (event) => event.isComposing || event.keyCode === 229;

/** @param {KeyboardEvent} event */
export const isEscape = (event) => event.key === "Escape" && !isComposing(event);
