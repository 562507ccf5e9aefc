/** The session on screen: which one it is, how it is kept, and how it ends. */

import { isSessionLost, Problem } from "../api/problem.js";
import { ownedSessionId } from "../conversation/reducer.js";
import { untilWhen } from "../ui/time.js";
import { t } from "../ui/strings.js";

/**
 * @typedef {import("../api/client.js").Session} Session
 *
 * @typedef {object} Page
 * @property {import("../api/client.js").ApiClient} api
 * @property {import("./address.js").Address} address
 * @property {import("../conversation/sync.js").Sync} sync
 * @property {import("../account/account.js").Account} account
 * @property {import("../ui/notifications.js").Notifications} notifications
 * @property {import("./model-switcher.js").ModelSwitcher} models
 * @property {import("../settings/early-settings.js").EarlySettings} early
 */

/** What else an address may have is asked for of no server. */
const SESSION_ID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/;

export class CurrentSession {
  /** The guest's session that the cookie is for, if it is for one. @type {string | null} */
  #guestSession;
  /** Until the server has told which conversation this is, or could not. */
  opening = Promise.resolve();

  /** @param {import("../conversation/store.js").Store} store @param {Page} page
   * @param {string | null} guestSession the one that came with the page */
  constructor(store, page, guestSession) {
    this.store = store;
    this.page = page;
    this.#guestSession = guestSession;
    store.subscribe(({ session, endReason }, before) => {
      if (!session || session === before.session) return;
      if (session.anonymous) this.#guestSession = session.session_id;
      else if (this.#guestSession === session.session_id) this.#guestSession = null;
      if (!endReason) page.address.replace(session.session_id);
    });
  }

  /** @param {() => Promise<void>} find which conversation this is */
  async open(find) {
    this.store.dispatch({ type: "opening" });
    this.opening = find().finally(() => this.store.dispatch({ type: "opened" }));
    await this.opening;
  }

  /** Put the conversation on screen that the address names. @param {() => Promise<boolean>} findUser whether there is one */
  async show(findUser) {
    const { address, api, sync } = this.page;
    this.page.notifications.notify("");
    this.clear();
    if (!address.id && this.#guestSession) address.replace(this.#guestSession);
    const { id } = address;
    await this.open(async () => {
      const mayHave = ((await findUser()) && SESSION_ID.test(id ?? "")) || id === this.#guestSession;
      if (!id || id !== address.id) return; // or the reader has gone on meanwhile
      api.useOwned(id === this.#guestSession ? null : id);
      if (mayHave) await sync.refresh();
      else this.store.dispatch({ type: "missing" });
    });
  }

  /** Put another of the user's conversations on screen. @param {string} id @param {() => void} opening it is there */
  async switchTo(id, opening) {
    const { data: session } = await this.page.api.openSession(id);
    this.page.notifications.notify("");
    this.clear();
    this.page.address.push(id);
    this.page.api.useSession(session);
    opening();
    await this.open(() => this.page.sync.refresh());
  }

  /** Whether this is a new conversation, which its first question makes. */
  get beginning() {
    const { session, endReason, missing } = this.store.state;
    return !session && endReason === null && !missing && !this.page.address.id;
  }

  /** A guest's session, for a first question that an automatic one is not enough for. @returns {Promise<void>} */
  async create() {
    const { data: session, etag } = await this.page.api.createSession(this.page.models.picked);
    this.adopt(session, etag);
  }

  /** Give the session on screen what was wanted of it before there was one. */
  async settle() {
    if (this.page.early.any && this.store.state.session) await this.change(this.page.early.wanted);
  }

  /** Give the session on screen its instructions and temperature.
   * @param {import("../settings/early-settings.js").ConversationSettings} settings */
  async change(settings) {
    const current = this.store.sameConversation();
    const { data: session, etag } = await this.page.api.changeSession(settings);
    if (!current()) return;
    this.page.early.drop();
    this.store.dispatch({ type: "session", session, etag });
  }

  /** A session of the user's, for a first question. */
  async createOwned() {
    const { data: session, etag } = await this.page.api.createSession(this.page.models.picked);
    // A guest's, though a user sits here: they have signed out in another tab.
    if (session.anonymous) throw new Problem({ status: 401, type: "/problems/login-required" });
    this.adopt(session, etag);
  }

  /** @param {Session} session what the calls are about from now on @param {string | null} etag */
  adopt(session, etag) {
    this.page.api.useSession(session);
    this.store.dispatch({ type: "session", session, etag });
  }

  /** Put off its end. */
  async extend() {
    const before = this.store.state.session?.expires_at ?? "";
    try {
      const { data, etag } = await this.page.api.refreshSession();
      this.store.dispatch({ type: "session", session: data, etag });
      const until = untilWhen(data.expires_at, this.page.api.serverNow());
      const moved = Date.parse(data.expires_at) - Date.parse(before) > 0;
      this.page.notifications.succeeded(t(moved ? "expiry.kept" : "expiry.last", { until }));
    } catch (error) {
      await this.failed(error);
    }
  }

  /** Delete one of the user's sessions. @param {string} id @returns {Promise<boolean>} whether it was on screen */
  async remove(id) {
    const shown = id === ownedSessionId(this.store.state);
    if (shown) this.page.sync.stream.close(); // this page need not be told of its end
    try {
      await this.page.api.deleteListed(id);
    } catch (error) {
      if (!(error instanceof Problem) || !/^session-(invalid|expired)$/.test(error.slug)) {
        if (shown) void this.page.sync.refresh();
        throw error;
      }
    }
    return shown;
  }

  /** @param {unknown} error why a request about the session failed */
  async failed(error) {
    if (isSessionLost(error)) await this.lost(error);
    else this.page.notifications.showError(error);
  }

  /** The session is gone. That is news only to a reader who has seen it. @param {Problem} error */
  async lost(error) {
    const { store, page } = this;
    const current = store.sameConversation();
    if (await page.account.explains(error)) {
      // A guest's conversation is still theirs.
      if (current() && store.state.session) void page.sync.refresh();
    } else if (current()) {
      if (store.state.session) return this.#end(error.slug);
      this.clear();
      if (!page.address.id) return;
      if (page.address.id === this.#guestSession) this.#guestSession = null;
      store.dispatch({ type: "missing" });
    }
  }

  /** The stream is at its end. For a user, that may also be the end of the login. @param {string} reason */
  async expired(reason) {
    const { store, page } = this;
    page.sync.stream.close();
    if (!page.account.user || reason !== "expired") return this.#end(reason);
    const current = store.sameConversation();
    await page.account.find();
    // A login may end and be another at once, as with a new password: then only this stream was over.
    if (current()) void page.sync.refresh();
  }

  /** The guest's session is deleted. */
  guestDeleted() {
    this.#guestSession = null;
  }

  /** Nothing is on screen; the next message makes a session. */
  clear() {
    this.page.sync.stream.close();
    this.page.api.useSession(null);
    this.page.models.drop();
    this.page.early.drop();
    this.store.dispatch({ type: "clear" });
  }

  /** @param {string} reason */
  #end(reason) {
    this.page.sync.stream.close();
    if (this.store.state.session?.anonymous) this.#guestSession = null;
    this.store.dispatch({
      type: "ended",
      reason: t(reason.includes("expired") ? "ended.expired" : "ended.elsewhere"),
    });
  }
}
