/** Error messages for requests that failed. */

import { Problem } from "./problem.js";

const SECOND = 1_000;
const HOUR = 3_600;
const DAY = 86_400;

/** By the names of limits in core/limits. */
const LIMIT_MESSAGES = /** @type {Record<string, string>} */ ({
  messages: "You have sent many messages in a short time.",
  tokens: "You have used up your budget of tokens for now.",
  concurrent: "Other answers of yours are still being written.",
  create: "You have begun many conversations in a short time.",
  "create-network": "Many conversations have been begun from your network in a short time.",
  "create-global": "Many people are beginning conversations just now.",
});

/** @param {unknown} error */
export const errorMessage = (error) =>
  [describeError(error), isTransient(error) ? retryHint(error.retryAfter) : ""].filter(Boolean).join(" ");

/** Without when to try again. @param {unknown} error */
export function describeError(error) {
  if (!(error instanceof Problem)) return "Something went wrong in this page. Reload it and try again.";
  switch (error.status) {
    case 0:
      return navigator.onLine
        ? "The server can’t be reached. Check your connection and try again."
        : "No connection. Try again when you are back online.";
    case 409:
      if (error.slug === "idempotency-in-flight") return "This is on its way already. Give it a moment.";
      return error.slug === "generation-in-progress"
        ? "An answer to this conversation is still coming, perhaps in another tab. Wait for its end, then send this."
        : error.message;
    case 412: return "The model was switched somewhere else in the meantime.";
    case 413: return "That message is too long. Shorten it and try again.";
    case 429: return Object.hasOwn(LIMIT_MESSAGES, error.limit ?? "")
      ? LIMIT_MESSAGES[error.limit ?? ""] : "That was a lot in a short time.";
    case 502:
    case 503:
    case 504: return "The service is busy or restarting.";
    default: return error.status >= 500 ? "The server made a mistake." : error.message;
  }
}

/** Whether the request may succeed later. @param {unknown} error @returns {error is Problem} */
export const isTransient = (error) => error instanceof Problem && (error.status === 429 || error.status >= 500);

/** @param {number | null} seconds */
export const retryHint = (seconds) => `Try again ${seconds ? later(seconds) : "in a moment"}.`;

/** "in 12 s", "in 40 min", "at 18:40", "on 3 May at 18:40". @param {number} seconds */
function later(seconds) {
  if (seconds < 90) return `in ${seconds} s`;
  if (seconds < 2 * HOUR) return `in ${Math.ceil(seconds / 60)} min`;
  const moment = new Date(Date.now() + seconds * SECOND); // as the reader's clock will show it
  const at = `at ${moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
  return seconds < DAY / 2 ? at : `on ${moment.toLocaleDateString("en", { day: "numeric", month: "long" })} ${at}`;
}
