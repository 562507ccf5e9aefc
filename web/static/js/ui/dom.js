/** Elements of the page's markup. */

/**
 * The element with this id; throws where the page has none, or one of another kind.
 * @overload @param {string} id @returns {HTMLElement}
 */
/**
 * @template {HTMLElement} T
 * @overload @param {string} id @param {new () => T} kind @returns {T}
 */
/** @param {string} id @param {new () => HTMLElement} kind @returns {HTMLElement} */
export function byId(id, kind = HTMLElement) {
  const element = /** @type {Element | null} */ (document.getElementById(id));
  if (element instanceof kind) return element;
  throw new TypeError(`#${id} is ${element ? `a ${element.constructor.name}` : "missing"}, not a ${kind.name}`);
}
