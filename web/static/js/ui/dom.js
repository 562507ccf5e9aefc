/** Elements of the page's markup. */

/**
 * The element with this id, which the markup has for certain.
 * @template {HTMLElement} [T=HTMLElement] @param {string} id @returns {T}
 */
export const byId = (id) => /** @type {T} */ (document.getElementById(id));
