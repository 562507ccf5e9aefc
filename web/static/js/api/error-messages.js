/** Error messages for requests that failed. */

import { Problem } from "./problem.js";
import { size } from "../ui/size.js";
import { t } from "../ui/strings.js";
import { dayOf, timeOfDay } from "../ui/time.js";

/** Bytes of UTF-8 that a message may have, as the server counts them. */
export const MAX_MESSAGE = 32 * 1024;
/** Bytes of UTF-8 that a conversation's instructions may have. */
export const MAX_INSTRUCTIONS = 8 * 1024;
const SECOND = 1_000;
const HOUR = 3_600;
const DAY = 86_400;

/** By the slugs of problems in core/errors.py. */
const MESSAGES = /** @type {Record<string, string>} */ ({
  "idempotency-in-flight": t("error.onItsWay"),
  "generation-in-progress": t("error.generationInProgress"),
  "too-many-waiting": t("error.tooManyWaiting"),
  "not-waiting": t("error.notWaiting"),
  "too-many-branches": t("error.tooManyVersions"),
  "too-many-sessions": t("error.tooManyConversations"),
  "too-many-keys": t("error.tooManyKeys"),
  "unknown-model": t("failure.unknownModel"),
});

/** By the names of limits in core/limits. */
const LIMIT_MESSAGES = /** @type {Record<string, string>} */ ({
  messages: t("error.limit.messages"),
  tokens: t("error.limit.tokens"),
  cost: t("error.limit.cost"),
  concurrent: t("error.limit.concurrent"),
  create: t("error.limit.create"),
  "create-network": t("error.limit.network"),
  "create-global": t("error.limit.global"),
});

/** @param {unknown} error */
export const errorMessage = (error) =>
  [describeError(error), isTransient(error) ? retryHint(error.retryAfter) : ""].filter(Boolean).join(" ");

/** Without when to try again. @param {unknown} error */
export function describeError(error) {
  if (!(error instanceof Problem)) return t("error.page");
  if (Object.hasOwn(MESSAGES, error.slug)) return MESSAGES[error.slug];
  switch (error.status) {
    case 0:
      return t(navigator.onLine ? "error.unreachable" : "error.offline");
    case 412: return t("error.switchedElsewhere");
    case 413: return t("error.tooLong", { limit: size(MAX_MESSAGE) });
    case 429: return limitMessage(error.limit);
    case 502:
    case 503:
    case 504: return t("error.busy");
    default: return error.status >= 500 ? t("error.server") : error.message;
  }
}

/** What has been reached. @param {unknown} name of a limit */
export const limitMessage = (name) =>
  (typeof name === "string" && Object.hasOwn(LIMIT_MESSAGES, name) ? LIMIT_MESSAGES[name] : t("error.rateLimited"));

/** Whether the request may succeed later. @param {unknown} error @returns {error is Problem} */
export const isTransient = (error) => error instanceof Problem && (error.status === 429 || error.status >= 500);

/** Whether the service is away, or cannot be reached: what was wanted is not to blame. @param {unknown} error
 * @returns {error is Problem} */
export const isOutage = (error) => error instanceof Problem && [0, 502, 503, 504].includes(error.status);

/** @param {number | null} seconds */
export const retryHint = (seconds) => (seconds ? later(seconds) : t("retry.moment"));

/** "Try again in 12 s", "… in 40 min", "… at 18:40", "… on 3 May at 18:40". @param {number} seconds */
function later(seconds) {
  if (seconds < 90) return t("retry.in", { duration: t("unit.seconds", { count: seconds }) });
  if (seconds < 2 * HOUR) return t("retry.in", { duration: t("unit.minutes", { count: Math.ceil(seconds / 60) }) });
  const moment = new Date(Date.now() + seconds * SECOND); // as the reader's clock will show it
  const time = timeOfDay(moment);
  return seconds < DAY / 2 ? t("retry.at", { time }) : t("retry.on", { date: dayOf(moment), time });
}
