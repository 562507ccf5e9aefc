/** The ids of events: the log that an event is in, and its place there. */

/** `epoch-offset`; the epoch may contain dashes. @param {string | null} id */
export function parseId(id) {
  const dash = (id ?? "").lastIndexOf("-");
  return { epoch: (id ?? "").slice(0, Math.max(dash, 0)), offset: Number((id ?? "").slice(dash + 1)) };
}

/** Whether `id` lies at or before `cursor` in the same log. @param {string | null} id @param {string | null} cursor */
export function isCovered(id, cursor) {
  if (!id || !cursor) return false;
  const [a, b] = [parseId(id), parseId(cursor)];
  return a.epoch === b.epoch && a.offset <= b.offset;
}
