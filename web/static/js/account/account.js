// @ts-check
/** Who sits before the page: nobody in particular, or a user; and what changes when that changes. */

import * as accountApi from "../api/account.js";
import { byId } from "../ui/dom.js";
import { deleteDialog, LoginsDialog, passwordDialog } from "./account-dialogs.js";
import { claimSession, Problem } from "../api/client.js";
import { errorMessage } from "../api/error-messages.js";
import { SignIn } from "./sign-in.js";
import { ConfirmBar } from "../ui/confirm-bar.js";

/**
 * @typedef {import("../api/client.js").Session} Session
 * @typedef {object} Page
 * @property {() => Session | null} session the one on screen
 * @property {() => boolean} hasWords whether there is anything on screen to keep
 * @property {() => Promise<void>} quiet when no answer is being written
 * @property {(session: Session, etag: string | null) => void} claimed
 * @property {() => void} changed it is another user, or none
 * @property {() => void} leave away with what is on screen: it is the user's who has gone
 * @property {(words: string) => void} notify
 * @property {(words: string, toast?: string) => void} announce
 * @property {() => void} focus to where writing goes on, if the reader has nothing else in hand
 */

const DECLINED = "switchboard-not-kept";
const FIND_AGAIN = 3_000;
const CLAIM_TRIES = 10;
const CLAIM_PAUSE = 500;

export class Account {
  /** @type {accountApi.User | null} */ #user = null;
  #others = new BroadcastChannel("switchboard-account");

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.signIn = new SignIn(byId("sign-in"), (user) => this.#welcome(user));
    const news = { failed: (/** @type {unknown} */ error) => this.ended(error), told: (/** @type {string} */ words) => page.announce(words, words) };
    this.password = passwordDialog(news);
    this.logins = new LoginsDialog(news);
    this.deletion = deleteDialog(news, () => this.#goodbye("Account deleted"));
    this.bar = new ConfirmBar(byId("claim"), byId("claim-keep"), byId("claim-not"));

    byId("sign-in-open").addEventListener("click", () => this.signIn.open());
    this.#item("menu-password", () => this.password.open());
    this.#item("menu-logins", () => this.logins.open());
    this.#item("menu-sign-out", () => void this.#signOut());
    this.#item("menu-delete", () => this.deletion.open());
    byId("account-menu").addEventListener("toggle", (event) => {
      byId("account-open").ariaExpanded = String(/** @type {ToggleEvent} */ (event).newState === "open");
    });
    this.#others.onmessage = ({ data }) => void this.#heard(data);
  }

  /** @param {string} id @param {() => void} act */
  #item(id, act) {
    byId(id).addEventListener("click", () => {
      byId("account-menu").hidePopover(); // first, so that a dialog's end brings the focus back to the menu's button
      act();
    });
  }

  get user() {
    return this.#user;
  }

  /** Ask the server who this is; where a cookie says that it is somebody. */
  async find() {
    try {
      this.#become(await accountApi.whoAmI());
    } catch (error) {
      if (!this.ended(error) && !this.#user) setTimeout(() => void this.find(), FIND_AGAIN * (1 + Math.random()));
    }
  }

  /** Whether the login is over; then the page is told, and goes on without. @param {unknown} error */
  ended(error) {
    if (!(error instanceof Problem) || error.status !== 401 || !/^login-(invalid|required)$/.test(error.slug)) return false;
    const hadWords = this.#user !== null || error.slug === "login-invalid";
    this.#become(null);
    if (hadWords) this.page.notify("You have been signed out.");
    return true;
  }

  /** Whether a session that can't be had is so because somebody else sits here now. @param {Problem} error */
  async explains(error) {
    if (this.ended(error)) return true;
    if (!this.#user) return false;
    const before = this.#user;
    try {
      const now = await accountApi.whoAmI();
      if (now.user_id === before.user_id) return false;
      this.#become(now);
      return true;
    } catch (failure) {
      return this.ended(failure);
    }
  }

  /** The server has told what is on screen. */
  noticed() {
    const session = this.page.session();
    if (session && !session.anonymous && !this.#user) void this.find(); // signed in in another tab
    else if (session && this.#unkept() && session.session_id !== declined()) void this.#offer(false);
  }

  /** Before an anonymous conversation is left for another: it can't be found again. @returns {Promise<boolean>} */
  async mayLeave() {
    if (!this.#unkept()) return true;
    const answer = await this.#ask("Keep this conversation in your account? It is lost otherwise.", "Let it go", true);
    if (answer) await this.#keep();
    return answer === false || (answer === true && !this.#unkept());
  }

  /** @param {accountApi.User} user */
  #welcome(user) {
    this.#become(user);
    this.#tell();
    this.page.notify("");
    this.page.announce(`Signed in${user.email ? ` as ${user.email}` : ""}`);
    if (this.#unkept()) void this.#offer(true);
    else this.page.focus();
  }

  async #signOut() {
    try {
      await accountApi.signOut();
    } catch (error) {
      return this.page.notify(errorMessage(error));
    }
    this.#goodbye("Signed out");
  }

  /** @param {string} words */
  #goodbye(words) {
    this.#become(null);
    this.#tell();
    this.page.notify("");
    this.page.announce(words, words);
    this.page.focus();
  }

  #tell() {
    this.#others.postMessage(this.#user?.user_id ?? null);
  }

  /** Something happened in another tab. @param {string | null} userId */
  async #heard(userId) {
    if (userId === (this.#user?.user_id ?? null)) return;
    if (userId) return this.find();
    this.#become(null);
    this.page.notify("You have been signed out in another tab.");
  }

  /** @param {accountApi.User | null} user */
  #become(user) {
    const before = this.#user;
    this.#user = user;
    document.body.toggleAttribute("data-signed-in", user !== null);
    byId("sign-in-open").hidden = user !== null;
    byId("account-open").hidden = user === null;
    byId("panel-open").hidden = user === null;
    byId("column").hidden = user === null;
    const name = user?.email ?? "Your account";
    byId("account-name").textContent = name;
    byId("menu-name").textContent = name;
    byId("account-initial").textContent = [...name][0].toUpperCase();
    byId("account-open").ariaLabel = `Account: ${name}`;
    for (const field of document.querySelectorAll("input[name=username]")) {
      /** @type {HTMLInputElement} */ (field).defaultValue = user?.email ?? ""; // password managers look for it
    }
    if (before?.user_id === user?.user_id) return;
    if (before) {
      this.bar.dismiss();
      byId("account-menu").hidePopover();
      for (const dialog of [this.password, this.logins, this.deletion]) dialog.close();
      if (this.page.session()?.anonymous === false) this.page.leave();
    }
    this.page.changed();
  }

  // ---- An anonymous conversation of somebody who has signed in -----------------------------------------------

  #unkept() {
    return this.#user !== null && this.page.session()?.anonymous === true && this.page.hasWords();
  }

  /** @param {boolean} focus */
  async #offer(focus) {
    if (this.bar.asking) return;
    const id = this.page.session()?.session_id ?? "";
    const answer = await this.#ask(
      "Keep this conversation in your account? Otherwise it is deleted when it expires.", "Not now", focus);
    if (answer) await this.#keep();
    else if (answer === false) decline(id);
  }

  /** @param {string} question @param {string} no @param {boolean} focus */
  async #ask(question, no, focus) {
    byId("claim-question").textContent = question;
    byId("claim").ariaLabel = question;
    byId("claim-not").textContent = no;
    const answer = await this.bar.ask(focus ? byId("claim-keep") : null);
    if (!this.bar.asking) this.page.focus();
    return answer;
  }

  async #keep() {
    const id = this.page.session()?.session_id;
    for (let tries = 1; ; tries++) {
      await this.page.quiet(); // an answer is kept whole or not at all
      if (!this.#unkept() || this.page.session()?.session_id !== id) return;
      try {
        const { data, etag } = await claimSession();
        this.page.claimed(data, etag);
        return this.page.announce("Kept in your account", "Kept in your account");
      } catch (error) {
        if (error instanceof Problem && error.slug === "generation-in-progress" && tries < CLAIM_TRIES) {
          await new Promise((resolve) => setTimeout(resolve, CLAIM_PAUSE));
        } else {
          if (!this.ended(error)) this.page.notify(errorMessage(error));
          return;
        }
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
