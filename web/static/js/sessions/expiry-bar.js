/** The time until the session expires, and the button that puts it off. */

import { t } from "../ui/strings.js";

const WARN_BELOW = 5 * 60;
const KEEP_BELOW = 2 * 86_400;
/** Milliseconds: most breaks end sooner than a reader needs to know of them. */
const BREAK_SHOWN_AFTER = 2_000;

/** "29 min", "5 h", "3 days"; seconds only at the very end. @param {number} seconds */
export function duration(seconds) {
  if (seconds < 60) return t("unit.seconds", { count: Math.max(0, Math.ceil(seconds)) });
  if (seconds < 2 * 3600) return t("unit.minutes", { count: Math.floor(seconds / 60) });
  if (seconds < 2 * 86400) return t("unit.hours", { count: Math.floor(seconds / 3600) });
  return t("unit.days", { count: Math.floor(seconds / 86400) });
}

export class ExpiryBar {
  /** @type {number | null} */ #expiresAt = null;
  #warned = false;
  #reported = false;
  #connected = true;
  /** @type {number | undefined} */ #breakTimer;

  /**
   * @param {{bar: HTMLElement, expiry: HTMLElement, keep: HTMLButtonElement}} parts
   * @param {{keep: () => void, due: () => void, warn: (left: string) => void, now: () => number}} on
   *   `now`: the server's time; `due`: by the clock, the session has run out
   */
  constructor(parts, on) {
    this.parts = parts;
    this.on = on;
    parts.keep.addEventListener("click", on.keep);
    setInterval(() => this.#draw(), 1_000);
  }

  /** @param {string | null} expiresAt */
  set expiresAt(/** @type {string | null} */ expiresAt) {
    const moment = expiresAt ? Date.parse(expiresAt) : null;
    if (moment === this.#expiresAt) return;
    this.#expiresAt = moment;
    this.#reported = false;
    this.#draw();
  }

  /** Whether the session's events arrive. */
  set connected(/** @type {boolean} */ connected) {
    if (!connected) {
      this.#breakTimer ??= setTimeout(() => { this.#connected = false; }, BREAK_SHOWN_AFTER);
      return;
    }
    clearTimeout(this.#breakTimer);
    this.#breakTimer = undefined;
    this.#connected = true;
  }

  #draw() {
    const { bar, expiry, keep } = this.parts;
    if (this.#expiresAt === null) {
      keep.hidden = true;
      write(expiry, "");
      bar.classList.remove("soon");
      return;
    }
    const left = (this.#expiresAt - this.on.now()) / 1000;
    const soon = left < WARN_BELOW;
    keep.hidden = left > KEEP_BELOW;
    const told = left <= KEEP_BELOW ? t("expiry.expiresIn", { left: duration(left) }) : ""; // a fortnight is no news
    write(expiry, this.#connected ? told : t("expiry.reconnecting"));
    bar.classList.toggle("soon", soon);
    if (soon && !this.#warned) this.on.warn(duration(left));
    this.#warned = soon;
    if (left <= -1 && !this.#reported) {
      this.#reported = true;
      this.on.due();
    }
  }
}

/** Writing the same words again would still be a change to a screen reader. @param {HTMLElement} node @param {string} text */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
