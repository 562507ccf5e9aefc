/** Texts by their Unicode code points, the unit of the wire. Not `text.length`: that counts UTF-16 units. */

/** @param {string} text */
export const countCodePoints = (text) => {
  let count = 0;
  for (const _ of text) count++;
  return count;
};

/** @param {string} text @param {number} count */
export const takeCodePoints = (text, count) => [...text].slice(0, count).join("");

/** @param {string} text @param {number} count */
export const dropCodePoints = (text, count) => [...text].slice(count).join("");
