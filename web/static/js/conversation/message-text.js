/** A message as it was meant: without the blank lines around it, but with the indentation of its first line. */

import { isBlank } from "../ui/blank.js";

/** Empty where nothing of it can be seen. @param {string} written */
export const messageOf = (written) => isBlank(written) ? "" : written.replace(/^(?:[^\S\n]*\n)+/, "").trimEnd();
