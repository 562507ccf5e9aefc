/** The focus after a request: it is not taken from what the reader has turned to meanwhile. */

/**
 * Whether the focus is nowhere, or still in what the request came from.
 * @param {(Element | null)[]} from
 */
export function focusIsFree(...from) {
  const at = document.activeElement;
  if (!at || at === document.body || !at.checkVisibility()) return true;
  return from.some((node) => node?.contains(at));
}
