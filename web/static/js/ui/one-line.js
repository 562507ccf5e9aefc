/** Text as a name. */

import { isBlank } from "./blank.js";

/** What turns the direction of the text around it (Unicode's Bidi_Control). */
const DIRECTION = /\p{Bidi_Control}/gu;
/** Control characters, and what ends a line or a paragraph. */
const CONTROL = /[\p{Cc}\u2028\u2029]/gu;

/** The text as the server takes a name (core/text/characters.py): each run of spaces and control characters is one space,
 * and nothing turns its direction. Empty where nothing of it can be seen. @param {string} text */
export const oneLine = (text) => isBlank(text) ? "" : text.replace(DIRECTION, "").replace(CONTROL, " ").replace(/\s+/g, " ").trim();
