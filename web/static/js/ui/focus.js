/** Whose the focus is. What the reader has taken up since a request went out stays in their hands. */

/**
 * Whether nobody works anywhere, or only with what the request came from.
 * @param {(Element | null)[]} from
 */
export function focusIsFree(...from) {
  const at = document.activeElement;
  if (!at || at === document.body || !at.checkVisibility()) return true;
  return from.some((node) => node?.contains(at));
}
