/** What can't be seen. */

/** Spaces, ends of lines, control and format characters, and others that are not drawn, as the server has them
 * (core/text/characters.py). */
const BLANK =
  /^[\p{Z}\p{Cc}\p{Cf}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\u{e0100}-\u{e01ef}]*$/u;

/** Whether nothing of the text can be seen. @param {string} text */
export const isBlank = (text) => BLANK.test(text);
