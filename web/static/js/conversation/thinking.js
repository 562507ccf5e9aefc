/**
 * A model's thinking as a value: its text, and the time it takes. Moments and times are in milliseconds;
 * NaN is one that this page can't know, having come too late.
 */

import { countCodePoints, takeCodePoints } from "./code-points.js";

/**
 * @typedef {import("./immutable.js").Immutable<ThinkingFields>} Thinking
 *
 * @typedef {object} ThinkingFields
 * @property {string} text
 * @property {number} length of the text in code points, the unit of an event's `at`
 * @property {number} spent on it, in the stretches that are over
 * @property {number | null} since when the present stretch goes on; null: the model is not thinking
 */

/** Code points of thinking that a server keeps. */
const MAX_LENGTH = 200_000;

/** Whether there may have been more of it. @param {string} text */
export const isCut = (text) => text.length >= MAX_LENGTH && countCodePoints(text) >= MAX_LENGTH;

/** @type {Thinking} */
export const noThinking = { text: "", length: 0, spent: 0, since: null };

/**
 * `text` is in the place of everything from `at` on; null: what comes before it is not here.
 * @param {Thinking} thinking @param {{at: number, text: string}} data @param {number} moment @returns {Thinking | null}
 */
export function think(thinking, { at, text }, moment) {
  const kept = keep(thinking, at);
  return kept && { ...kept, text: kept.text + text, length: at + countCodePoints(text), since: kept.since ?? moment };
}

/** Only what comes before `at`; null: not all of that is here.
 * @param {Thinking} thinking @param {number} at @returns {Thinking | null} */
export function keep(thinking, at) {
  if (at > thinking.length) return null;
  if (at === thinking.length) return thinking;
  return at === 0 ? noThinking : { ...thinking, text: takeCodePoints(thinking.text, at), length: at };
}

/** The model answers, or has come to its end. @param {Thinking} thinking @param {number} moment @returns {Thinking} */
export const pause = (thinking, moment) => thinking.since === null ? thinking
  : { ...thinking, spent: thinking.spent + moment - thinking.since, since: null };

/**
 * The server's account of the text, and of the time where it has one.
 * @param {Thinking | undefined} known what this page has received of it
 * @param {string} text @param {number | null | undefined} seconds @returns {Thinking}
 */
export function fromServer(known, text, seconds) {
  if (!text) return noThinking;
  const length = countCodePoints(text);
  if (known?.text && !Number.isNaN(known.spent + (known.since ?? 0))) return { ...known, text, length };
  return { text, length, spent: seconds ? seconds * 1_000 : NaN, since: null };
}

/** Whole ones, or null when nothing is known of them. @param {Thinking} thinking */
export const seconds = ({ text, spent }) => (text && spent >= 0 ? Math.max(1, Math.round(spent / 1_000)) : null);
