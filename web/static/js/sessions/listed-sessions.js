/** The user's conversations as a value: a list, last active first, and what an event makes of it. No DOM. */

/**
 * @typedef {import("../api/client.js").Listed} Listed
 * @typedef {import("../stream/user-stream.js").UserEvent} UserEvent
 * @typedef {import("../stream/user-stream.js").ListedEvent} ListedEvent
 */

/**
 * @param {readonly Listed[]} sessions @param {UserEvent} event
 * @returns {readonly Listed[] | null} null: only the server can tell
 */
export function applyUserEvent(sessions, event) {
  switch (event.type) {
    case "reset":
    case "created": return null;
    case "deleted": return sessions.filter(({ session_id: id }) => id !== event.data.session_id);
    case "answering":
    case "answered":
    case "changed":
    case "read": return change(sessions, event);
    default: return sessions; // nothing that the list tells
  }
}

/** @param {readonly Listed[]} sessions @param {ListedEvent} event */
function change(sessions, event) {
  const { session_id: changed } = event.data;
  if (event.type === "answering" && !sessions.some(({ session_id: id }) => id === changed)) return null;
  const news = newsOf(event);
  return sessions.map((each) => (each.session_id === changed ? { ...each, ...news } : each)).sort(byActivity);
}

/** @param {ListedEvent} event @returns {Partial<Listed>} */
function newsOf({ type, data }) {
  switch (type) {
    case "changed": return { title: data.title };
    case "answering": return { title: data.title, last_active_at: data.last_active_at, answering: true };
    case "answered": return { answering: false, ...(data.state !== "stopped" && { unread: true }) };
    case "read": return { unread: false };
  }
}

/** @param {Listed} a @param {Listed} b */
const byActivity = (a, b) => Date.parse(b.last_active_at) - Date.parse(a.last_active_at);
