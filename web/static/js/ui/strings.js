/** The page's words in the reader's language. Each language is a table in strings/, all with the same keys; the server
 * says which one the page has, and fills its markup from the same tables. */

/**
 * @typedef {keyof typeof import("./strings/en.js").default} Key
 * @typedef {Partial<Record<Intl.LDMLPluralRule, string>> & {other: string}} Plural by the grammatical number of `count`
 */

/** The page's language, as BCP 47 has it; modules that run without a page speak English. */
export const language = globalThis.document?.documentElement.lang || "en";

const table = /** @type {Record<Key, string | Plural>} */ ((await import(`./strings/${language}.js`)).default);
const plurals = new Intl.PluralRules(language);

/** "12,345", as the language writes it. @param {number} value */
export const number = (value) => value.toLocaleString(language);

/** The words for a key. Numbers among the values are written as the language does. @param {Key} key
 * @param {Record<string, string | number>} [values] */
export function t(key, values = {}) {
  const entry = table[key];
  const pattern = typeof entry === "string" ? entry : entry[plurals.select(Number(values.count))] ?? entry.other;
  return pattern.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? number(value) : value;
  });
}
