/** A message as it was meant: without the blank lines around it, but with the indentation of its first line. */

/** @param {string} written */
export const messageOf = (written) => written.replace(/^(?:[^\S\n]*\n)+/, "").trimEnd();
