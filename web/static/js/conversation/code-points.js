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

/** Where in a text so many code points have come since `from`, both in UTF-16 units. Not beyond the text's end.
 * @param {string} text @param {number} count @param {number} from */
export function indexAfter(text, count, from) {
  let index = from;
  for (; count > 0 && index < text.length; count--) index += (text.codePointAt(index) ?? 0) > 0xffff ? 2 : 1;
  return index;
}
