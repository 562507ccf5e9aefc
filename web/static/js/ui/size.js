/** Sizes in words. */

import { language } from "./strings.js";

/** "768 byte", "1.5 kB": of bytes, in the units of the language. @param {number} bytes */
export const size = (bytes) => (bytes < 1_000
  ? bytes.toLocaleString(language, { style: "unit", unit: "byte", unitDisplay: "long" })
  : (bytes / 1_000).toLocaleString(language, { style: "unit", unit: "kilobyte", maximumFractionDigits: 1 }));
