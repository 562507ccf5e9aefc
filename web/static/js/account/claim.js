/** Offers to keep a guest's conversation in the account of the user who has signed in since. */

import { Problem } from "../api/problem.js";
import { ConfirmBar } from "../ui/confirm-bar.js";
import { byId } from "../ui/dom.js";
import { t } from "../ui/strings.js";

const DECLINED = "switchboard-not-kept";
const TRIES = 10;
const PAUSE = 500;

/**
 * @typedef {import("../api/client.js").Session} Session
 * @typedef {object} Page
 * @property {import("../api/client.js").ApiClient} api
 * @property {() => boolean} claimable whether a guest's conversation is on a signed-in user's screen
 * @property {() => Session | null} session the one on screen
 * @property {() => Promise<void>} idle when no answer is being written
 * @property {(session: Session, etag: string | null) => void} claimed
 * @property {(error: unknown) => void} failed
 * @property {import("../ui/notifications.js").Notifications} notifications
 * @property {() => void} focus to where writing goes on, if the reader has nothing else in hand
 */

export class Claim {
  #bar = new ConfirmBar(
    byId("claim"), byId("claim-keep", HTMLButtonElement), byId("claim-not", HTMLButtonElement));
  #claiming = false;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
  }

  /** Offer it, unless it was declined before. An offer that was made before may have lost its reason. */
  offerOnce() {
    if (!this.page.claimable()) this.dismiss();
    else if (this.page.session()?.session_id !== declined()) void this.offer(false);
  }

  /** @param {boolean} focus whether the answer is what the reader is about to give */
  async offer(focus) {
    if (this.#bar.asking || this.#claiming) return;
    const id = this.page.session()?.session_id ?? "";
    const answer = await this.#ask(t("claim.offer"), t("claim.notNow"), focus);
    if (answer) await this.#claim();
    else if (answer === false) decline(id);
  }

  /** Before a guest's conversation is left for another: it can't be found again. @returns {Promise<boolean>} */
  async mayLeave() {
    if (!this.page.claimable()) return true;
    const answer = await this.#ask(t("claim.leaving"), t("claim.letGo"), true);
    if (answer) await this.#claim();
    return answer === false || (answer === true && !this.page.claimable());
  }

  /** Withdraw the offer. */
  dismiss() {
    this.#bar.dismiss();
  }

  /** @param {string} question @param {string} no @param {boolean} focus */
  async #ask(question, no, focus) {
    byId("claim-question").textContent = question;
    byId("claim").ariaLabel = question;
    byId("claim-not").textContent = no;
    const answer = await this.#bar.ask(focus ? byId("claim-keep") : null);
    if (!this.#bar.asking) this.page.focus();
    return answer;
  }

  async #claim() {
    this.#claiming = true;
    try {
      await this.#claimAtTheEnd();
    } finally {
      this.#claiming = false;
    }
  }

  /** An answer that is being written is kept whole or not at all. */
  async #claimAtTheEnd() {
    const { page } = this;
    const id = page.session()?.session_id;
    for (let tries = 1; ; tries++) {
      await page.idle();
      if (!page.claimable() || page.session()?.session_id !== id) return;
      try {
        const { data, etag } = await page.api.claimSession();
        page.claimed(data, etag);
        return page.notifications.succeeded(t("claim.kept"), t("claim.kept"));
      } catch (error) {
        const begun = error instanceof Problem && error.slug === "generation-in-progress"; // another answer, meanwhile
        if (!begun || tries === TRIES) return page.failed(error);
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
      }
    }
  }
}

/** @param {string} id */
function decline(id) {
  try {
    sessionStorage.setItem(DECLINED, id);
  } catch {
    // storage is off: the question comes back with the next visit
  }
}

function declined() {
  try {
    return sessionStorage.getItem(DECLINED);
  } catch {
    return null;
  }
}
