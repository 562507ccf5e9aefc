/** What the reader has chosen for this browser. The server makes the document by it, so it is kept in cookies. */

const YEAR = 31_536_000;
const NOTIFY = "switchboard-notify";

/** Keep a choice. @param {string} root the path below which the server is @param {string} name @param {string} value empty: no choice */
export function choose(root, name, value) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  const lifetime = value ? YEAR : 0;
  document.cookie = `switchboard_${name}=${value}; Path=${root || "/"}; Max-Age=${lifetime}; SameSite=Lax${secure}`;
}

/** What is chosen; empty: nothing. @param {string} name */
export function chosen(name) {
  const prefix = `switchboard_${name}=`;
  return document.cookie.split("; ").find((cookie) => cookie.startsWith(prefix))?.slice(prefix.length) ?? "";
}

/** Whether the reader wants to be notified of answers, and the browser lets the page. */
export function wantsNotifications() {
  try {
    return localStorage.getItem(NOTIFY) === "yes" && Notification.permission === "granted";
  } catch {
    return false; // storage is off, or there are no notifications here
  }
}

/** Ask the browser, which asks the reader. @param {boolean} wanted @returns {Promise<boolean>} whether they come from now on */
export async function setNotifications(wanted) {
  try {
    localStorage.setItem(NOTIFY, wanted && (await Notification.requestPermission()) === "granted" ? "yes" : "no");
  } catch {
    return false;
  }
  return wantsNotifications();
}
