/** Moments in words; `now` is the server's time, in milliseconds since 1970. */

import { language, t } from "./strings.js";

const ago = new Intl.RelativeTimeFormat(language, { numeric: "auto" });

/** "5 minutes ago", "yesterday", and after a week the date. @param {string} at @param {number} now */
export function relative(at, now) {
  const minutes = Math.floor((now - Date.parse(at)) / 60_000);
  if (minutes < 1) return t("time.now");
  if (minutes < 60) return ago.format(-minutes, "minute");
  const days = daysSince(at, now);
  if (days === 0) return ago.format(-Math.floor(minutes / 60), "hour");
  if (days < 7) return ago.format(-days, "day");
  const sameYear = new Date(at).getFullYear() === new Date(now).getFullYear();
  return new Date(at).toLocaleDateString(language, { day: "numeric", month: "short", year: sameYear ? undefined : "numeric" });
}

/** Midnights between then and now, where the reader is. @param {string} at @param {number} now */
export function daysSince(at, now) {
  const midnights = [new Date(at), new Date(now)].map((date) => date.setHours(0, 0, 0, 0));
  return Math.round((midnights[1] - midnights[0]) / 86_400_000);
}

/** @param {string} at */
export const exactly = (at) => new Date(at).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });

/** The time of day or, where that is more than a day away, the date. @param {string} at @param {number} now */
export function untilWhen(at, now) {
  const far = Date.parse(at) - now > 86_400_000;
  return far ? dayOf(new Date(at)) : timeOfDay(new Date(at));
}

/** "3 May", as the language writes it. @param {Date} moment */
export const dayOf = (moment) => moment.toLocaleDateString(language, { day: "numeric", month: "long" });

/** "18:40", in the reader's own way, which is not the language's alone. @param {Date} moment */
export const timeOfDay = (moment) => moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
