/** The sidebar: the list of the user's conversations, as the server has it, and the search in them. */

import { UserStream } from "../stream/user-stream.js";
import { byId } from "../ui/dom.js";
import { t } from "../ui/strings.js";
import { applyUserEvent } from "./listed-sessions.js";
import { SessionList } from "./session-list.js";
import { SidebarPanel } from "./sidebar-panel.js";

/** Milliseconds without a key after which what is in the search field is searched for. */
const SEARCH_DELAY = 250;

/**
 * @typedef {import("../api/client.js").Listed} Listed
 *
 * @typedef {object} Page
 * @property {import("../api/client.js").ApiClient} api
 * @property {() => string | null} current the user's session on screen
 * @property {() => Promise<boolean>} mayLeave whether what is on screen may go
 * @property {(id: string) => Promise<void>} open
 * @property {(id: string) => string} address
 * @property {() => void} changed it is another list
 * @property {(id: string) => Promise<void>} remove
 * @property {(error: unknown, over?: Promise<void>) => void} failed `over`: when it is of no matter any more
 * @property {(words: string) => void} succeeded
 * @property {() => void} ended the user's login may be over
 */

export class Sidebar {
  #search = byId("search", HTMLInputElement);
  /** What the list was fetched for; empty: all of it. */
  #query = "";
  /** @type {number | undefined} */ #searchTimer;
  /** @type {readonly Listed[]} */ #sessions = [];
  /** @type {string | null} */ #next = null;
  /** How many the reader has asked to see. A fetch that is overtaken by another is made up for by that one. */
  #wanted = 0;
  /** Counts the fetches, so that the answer to an old one is not shown after a newer one. */
  #fetches = 0;
  /** The list that could not be read is there. */
  #wasRead = () => {};

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.list = new SessionList(
      { list: byId("sessions"), more: byId("more-sessions", HTMLButtonElement) },
      {
        now: () => page.api.serverNow(),
        open: (id) => void this.#open(id),
        address: page.address,
        rename: (id, title) => this.#rename(id, title),
        remove: (id) => this.#remove(id),
        more: () => {
          this.#wanted = this.#sessions.length + 1;
          void this.refresh();
        },
        failed: page.failed,
      },
    );
    this.panel = new SidebarPanel(
      {
        panel: byId("panel"), column: byId("column"), drawer: byId("drawer", HTMLDialogElement),
        opener: byId("panel-open", HTMLButtonElement),
      },
      () => void this.refresh(),
    );
    this.#search.addEventListener("input", () => {
      clearTimeout(this.#searchTimer);
      this.#searchTimer = setTimeout(() => {
        this.#wanted = 0;
        void this.#fetch(0);
      }, this.#search.value.trim() ? SEARCH_DELAY : 0);
    });
    this.stream = new UserStream(page.api.url("/sessions/events"), (event) => this.#receive(event));
  }

  /** Have the reader search, where there is something to be found. */
  search() {
    if (this.#search.hidden) return;
    this.panel.open();
    this.#search.focus();
    this.#search.select();
  }

  /** A user is signed in: read their list, and what happens to it. */
  open() {
    this.stream.wanted = true;
    return this.refresh();
  }

  /** Read the list again, as far as it was read before. */
  refresh() {
    return this.#fetch(Math.max(this.#sessions.length, this.#wanted));
  }

  /** The title of the session on screen, where the list has it. */
  get currentTitle() {
    const id = this.page.current();
    return this.#sessions.find(({ session_id }) => session_id === id)?.title ?? null;
  }

  /** Mark the session on screen. */
  markCurrent() {
    this.list.current = this.page.current();
  }

  /** Read the list if it can't have the session on screen, or its title, yet. @param {boolean} hasMessages */
  sessionChanged(hasMessages) {
    const id = this.page.current();
    const listed = this.#sessions.find(({ session_id }) => session_id === id);
    if (id && !this.#query && (!listed || (!listed.title && hasMessages))) void this.refresh();
  }

  /** No user is signed in. */
  clear() {
    this.stream.wanted = false;
    this.#fetches++;
    this.#wanted = 0;
    clearTimeout(this.#searchTimer);
    this.panel.close();
    this.#search.value = this.#query = "";
    this.#show([], null);
  }

  /** @param {number} wanted how many, at least */
  async #fetch(wanted) {
    const number = ++this.#fetches;
    const query = this.#search.value.trim();
    /** @type {Listed[]} */ const found = [];
    /** @type {string | null} */ let next = null;
    try {
      do {
        const page = await this.page.api.sessions(next, query);
        if (number !== this.#fetches) return;
        found.push(...page.sessions);
        next = page.next;
      } while (next && found.length < wanted);
      this.#query = query;
      this.#show(found, next);
      this.#wasRead();
    } catch (error) {
      if (number === this.#fetches) this.page.failed(error, new Promise((resolve) => { this.#wasRead = resolve; }));
    }
  }

  /** @param {readonly Listed[]} sessions @param {string | null} next */
  #show(sessions, next) {
    this.#sessions = sessions;
    this.#next = next;
    const searched = this.#query !== "";
    this.#search.hidden = sessions.length === 0 && !searched;
    byId("not-found").hidden = sessions.length > 0 || !searched;
    byId("no-sessions").hidden = sessions.length > 0 || searched;
    this.list.show(sessions, next !== null);
    this.page.changed();
  }

  /** @param {import("../stream/user-stream.js").UserEvent} event */
  #receive(event) {
    if (event.type === "expired") return this.page.ended();
    const sessions = applyUserEvent(this.#sessions, event);
    if (sessions) this.#show(sessions, this.#next);
    else void this.refresh();
  }

  /** @param {string} id */
  async #open(id) {
    this.panel.close();
    if (id === this.page.current() || !(await this.page.mayLeave())) return;
    try {
      await this.page.open(id);
    } catch (error) {
      this.page.failed(error);
      void this.refresh();
    }
  }

  /** @param {string} id @param {string} title */
  async #rename(id, title) {
    const { title: kept } = await this.page.api.renameSession(id, title);
    this.#show(this.#sessions.map((session) => (session.session_id === id ? { ...session, title: kept } : session)), this.#next);
    this.page.succeeded(t("list.renamed"));
  }

  /** @param {string} id */
  async #remove(id) {
    await this.page.remove(id);
    this.#fetches++; // one under way may still have it
    this.#show(this.#sessions.filter(({ session_id }) => session_id !== id), this.#next);
    this.page.succeeded(t("list.deleted"));
  }
}
