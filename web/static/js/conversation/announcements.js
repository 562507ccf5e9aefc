/** Which changes of the conversation a screen reader tells, and in which words. No DOM. */

import { endAnnouncement, progressLine } from "./answer-status.js";
import { items } from "./reducer.js";
import { t } from "../ui/strings.js";

/**
 * @typedef {import("./reducer.js").State} State
 * @typedef {import("./reducer.js").Live} Live
 * @typedef {import("./answer-status.js").Label} Label
 * @typedef {{words: string, changing?: boolean}} Announcement `changing`: there will be others like it soon
 */

/**
 * @param {import("./store.js").Store} store
 * @param {import("../ui/notifications.js").Notifications} notifications @param {Label} label
 */
export function announceChanges(store, notifications, label) {
  store.subscribe((now, before) => {
    const announcement = announcementOf(before, now, label);
    if (announcement?.changing) notifications.announceUpdate(announcement.words);
    else if (announcement) notifications.announce(announcement.words);
  });
}

/** @param {State} before @param {State} now @param {Label} label @returns {Announcement | null} */
export function announcementOf(before, now, label) {
  if (now.endReason) return before.endReason ? null : { words: t("ended.announcement") };
  if (now.away && !before.away && !now.session) return { words: t("away.title") };
  if (now.live) return ofProgress(before.live, now.live, label);
  const last = endedJustNow(before, now);
  return last && { words: endAnnouncement(last, label) };
}

/** The answer that this page has been waiting for until now. @param {State} before @param {State} now */
export function endedJustNow(before, now) {
  if (now.live || (!before.live && before.pending === null)) return null;
  const last = items(now)[now.messages.length - 1];
  return last?.role === "assistant" && last.id !== before.messages.at(-1)?.id ? last : null;
}

/** @param {Live | null} before @param {Live} now @param {Label} label @returns {Announcement | null} */
function ofProgress(before, now, label) {
  const words = progressLine(now, label);
  if (now.phase === "queued") {
    return now.waits && (!before || words !== progressLine(before, label)) ? { words, changing: true } : null;
  }
  if (now.fallback && !before?.fallback) return { words };
  // Between its first word and its end nothing is announced.
  if (now.text) return before?.text ? null : { words: t("progress.answeringNow") };
  return now.phase === "thinking" && before?.phase !== "thinking" ? { words } : null;
}
