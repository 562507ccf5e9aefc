/** Values that stay what they are: for the type checker, and at run time. */

/**
 * A type whose fields, and theirs, can only be read.
 * @template T
 * @typedef {T extends object ? {readonly [Field in keyof T]: Immutable<T[Field]>} : T} Immutable
 */

/**
 * Freeze a value and what it holds. What is frozen is not looked into again, so a state costs what is new in it.
 * @template T @param {T} value plain data @returns {Immutable<T>}
 */
export function deepFreeze(value) {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    for (const field of Object.values(Object.freeze(value))) deepFreeze(field);
  }
  return /** @type {Immutable<T>} */ (value);
}
