/** The sidebar: the list of the user's conversations, as the server has it. */

import { byId } from "../ui/dom.js";
import { SessionList } from "./session-list.js";
import { SidebarPanel } from "./sidebar-panel.js";
import { language, t } from "../ui/strings.js";

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
 * @property {(error: unknown) => void} failed
 * @property {(words: string) => void} announce
 */

export class Sidebar {
  #search = byId("search", HTMLInputElement);
  /** @type {Listed[]} */ #sessions = [];
  /** @type {string | null} */ #next = null;
  /** Counts the fetches, so that the answer to an old one is not shown after a newer one. */
  #fetches = 0;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.list = new SessionList(
      { list: byId("sessions"), none: byId("no-sessions"), more: byId("more-sessions", HTMLButtonElement) },
      {
        now: () => page.api.serverNow(),
        open: (id) => void this.#open(id),
        address: page.address,
        rename: (id, title) => this.#rename(id, title),
        remove: (id) => this.#remove(id),
        more: () => void this.#fetch(this.#sessions.length + 1),
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
    this.#search.addEventListener("input", () => this.#draw());
  }

  /** Have the reader search, where there is something to be found. */
  search() {
    if (this.#search.hidden) return;
    this.panel.open();
    this.#search.focus();
    this.#search.select();
  }

  /** Read the list again, as far as it was read before. */
  refresh() {
    return this.#fetch(this.#sessions.length);
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
    if (id && (!listed || (!listed.title && hasMessages))) void this.refresh();
  }

  /** No user is signed in. */
  clear() {
    this.#fetches++;
    this.panel.close();
    this.#search.value = "";
    this.#show([], null);
  }

  /** @param {number} wanted how many, at least */
  async #fetch(wanted) {
    const number = ++this.#fetches;
    /** @type {Listed[]} */ const found = [];
    /** @type {string | null} */ let next = null;
    try {
      do {
        const page = await this.page.api.sessions(next);
        if (number !== this.#fetches) return;
        found.push(...page.sessions);
        next = page.next;
      } while (next && found.length < wanted);
      this.#show(found, next);
    } catch (error) {
      if (number === this.#fetches) this.page.failed(error);
    }
  }

  /** @param {Listed[]} sessions @param {string | null} next */
  #show(sessions, next) {
    this.#sessions = sessions;
    this.#next = next;
    this.#search.hidden = sessions.length === 0;
    this.#draw();
    this.page.changed();
  }

  /** Those whose title has what is searched for. */
  #draw() {
    const wanted = this.#search.value.trim().toLocaleLowerCase(language);
    const found = this.#sessions.filter(({ title }) => (title ?? "").toLocaleLowerCase(language).includes(wanted));
    byId("not-found").hidden = found.length > 0 || !wanted;
    this.list.show(found, this.#next !== null);
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
    this.page.announce(t("list.renamed"));
  }

  /** @param {string} id */
  async #remove(id) {
    await this.page.remove(id);
    this.#fetches++; // one under way may still have it
    this.#show(this.#sessions.filter(({ session_id }) => session_id !== id), this.#next);
    this.page.announce(t("list.deleted"));
  }
}
