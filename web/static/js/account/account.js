/** The user who is signed in, if any, and what changes on the page when that changes. */

import { AccountApi } from "../api/account.js";
import { errorMessage } from "../api/error-messages.js";
import { Problem } from "../api/problem.js";
import { byId } from "../ui/dom.js";
import { deleteDialog, LoginsDialog, passwordDialog } from "./account-dialogs.js";
import { Claim } from "./claim.js";
import { SignIn } from "./sign-in.js";
import { t } from "../ui/strings.js";

/**
 * @typedef {import("../api/account.js").User} User
 * @typedef {import("../api/client.js").Session} Session
 * @typedef {object} Page
 * @property {import("../api/client.js").ApiClient} api
 * @property {() => Session | null} session the one on screen
 * @property {() => boolean} hasMessages whether there is anything on screen to keep
 * @property {() => Promise<void>} idle when no answer is being written
 * @property {(session: Session, etag: string | null) => void} claimed
 * @property {(gone: User | null) => void} changed it is another user, or none; `gone`: the one before
 * @property {() => void} leave away with what is on screen: it is the user's who has gone
 * @property {import("../ui/notifications.js").Notifications} notifications
 * @property {() => void} focus to where writing goes on, if the reader has nothing else in hand
 */

const RETRY_AFTER = 3_000;
/** Whose login was over before the page knew who it is. @type {User} */
const SOMEBODY = { user_id: "", email: null };

export class Account {
  /** @type {User | null} */ #user = null;
  #otherTabs = new BroadcastChannel("switchboard-account");

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.api = new AccountApi(page.api);
    this.signIn = new SignIn(byId("sign-in", HTMLDialogElement), this.api, (user) => this.#signedIn(user));
    const dialogPage = {
      api: this.api,
      now: () => page.api.serverNow(),
      failed: (/** @type {unknown} */ error) => this.ended(error),
      succeeded: (/** @type {string} */ words) => page.notifications.succeeded(words, words),
    };
    this.password = passwordDialog(dialogPage);
    this.logins = new LoginsDialog(dialogPage);
    this.deletion = deleteDialog(dialogPage, () => this.#signedOut(t("account.deleted")));
    this.claim = new Claim({
      ...page,
      claimable: () => this.#claimable(),
      failed: (error) => { if (!this.ended(error)) page.notifications.notify(errorMessage(error)); },
    });

    byId("sign-in-open").addEventListener("click", () => this.signIn.open());
    onMenuItem(byId("menu-password"), () => this.password.open());
    onMenuItem(byId("menu-logins"), () => this.logins.open());
    onMenuItem(byId("menu-sign-out"), () => void this.#signOut());
    onMenuItem(byId("menu-delete"), () => this.deletion.open());
    byId("account-menu").addEventListener("toggle", (event) => {
      byId("account-open").ariaExpanded = String(/** @type {ToggleEvent} */ (event).newState === "open");
    });
    this.#otherTabs.onmessage = ({ data }) => void this.#toldByOtherTab(data);
  }

  get user() {
    return this.#user;
  }

  /** Ask the server which user is signed in, where a cookie came with the page. */
  async find() {
    try {
      this.#setUser(await this.api.whoAmI());
    } catch (error) {
      if (!this.ended(error) && !this.#user) setTimeout(() => void this.find(), RETRY_AFTER * (1 + Math.random()));
    }
  }

  /** Whether the login is over; then the page is told, and goes on without. @param {unknown} error */
  ended(error) {
    if (!(error instanceof Problem) || error.status !== 401 || !/^login-(invalid|required)$/.test(error.slug)) return false;
    if (error.slug === "login-invalid") this.#user ??= SOMEBODY;
    const wasSignedIn = this.#user !== null;
    this.#setUser(null);
    if (wasSignedIn) this.page.notifications.notify(t("account.ended"));
    return true;
  }

  /** Whether a session can't be had because another user is signed in now, or none. @param {Problem} error */
  async explains(error) {
    if (this.ended(error)) return true;
    if (!this.#user) return false;
    const before = this.#user;
    try {
      const now = await this.api.whoAmI();
      if (now.user_id === before.user_id) return false;
      this.#setUser(now);
      return true;
    } catch (failure) {
      return this.ended(failure);
    }
  }

  /** The server has told which session is on screen. */
  sessionChanged() {
    const session = this.page.session();
    if (session && !session.anonymous && !this.#user) void this.find(); // signed in in another tab
    else this.claim.offerOnce();
  }

  /** Before another conversation is opened. @returns {Promise<boolean>} whether the one on screen may go */
  mayLeave() {
    return this.claim.mayLeave();
  }

  /** @param {User} user */
  #signedIn(user) {
    this.#setUser(user);
    this.#tellOtherTabs();
    this.page.notifications.notify("");
    this.page.notifications.announce(user.email ? t("account.signedInAs", { name: user.email }) : t("account.signedIn"));
    if (this.#claimable()) void this.claim.offer(true);
    else this.page.focus();
  }

  async #signOut() {
    try {
      await this.api.signOut();
    } catch (error) {
      return this.page.notifications.notify(errorMessage(error));
    }
    this.#signedOut(t("account.signedOut"));
  }

  /** @param {string} words */
  #signedOut(words) {
    this.#setUser(null);
    this.#tellOtherTabs();
    this.page.notifications.notify("");
    this.page.notifications.announce(words, words);
    this.page.focus();
  }

  #tellOtherTabs() {
    this.#otherTabs.postMessage(this.#user?.user_id ?? null);
  }

  /** Something happened in another tab. @param {string | null} userId */
  async #toldByOtherTab(userId) {
    if (userId === (this.#user?.user_id ?? null)) return;
    if (userId) return this.find();
    this.#setUser(null);
    this.page.notifications.notify(t("account.endedElsewhere"));
  }

  /** @param {User | null} user */
  #setUser(user) {
    const before = this.#user;
    this.#user = user;
    renderUser(user);
    if (before?.user_id === user?.user_id) return;
    if (before) {
      this.claim.dismiss();
      byId("account-menu").hidePopover();
      for (const dialog of [this.password, this.logins, this.deletion]) dialog.close();
      if (this.page.session()?.anonymous === false) this.page.leave();
    }
    this.page.changed(before);
  }

  #claimable() {
    return this.#user !== null && this.page.session()?.anonymous === true && this.page.hasMessages();
  }
}

/** @param {HTMLElement} item @param {() => void} act */
function onMenuItem(item, act) {
  item.addEventListener("click", () => {
    byId("account-menu").hidePopover(); // first, so that a dialog's end brings the focus back to the menu's button
    act();
  });
}

/** @param {User | null} user */
function renderUser(user) {
  document.body.toggleAttribute("data-signed-in", user !== null);
  byId("sign-in-open").hidden = user !== null;
  byId("account-open").hidden = user === null;
  byId("panel-open").hidden = user === null;
  byId("column").hidden = user === null;
  const name = user?.email ?? t("account.someName");
  byId("account-name").textContent = name;
  byId("menu-name").textContent = name;
  byId("account-initial").dataset.initial = [...name][0].toUpperCase(); // a picture, and no part of the name
  byId("account-open").ariaLabel = t("header.account", { name });
  for (const field of document.querySelectorAll("input[name=username]")) {
    /** @type {HTMLInputElement} */ (field).defaultValue = user?.email ?? ""; // password managers look for it
  }
}
