/** What is written and not sent yet, for each conversation: it survives a reload and a visit to another conversation. */

const PREFIX = "switchboard-draft:";
/** Drafts that are kept; the one that was not touched for longest goes first. */
const MAX_DRAFTS = 20;
/** UTF-16 units of one draft that are kept; more can't be sent anyway. */
const MAX_LENGTH = 40_000;

/** @typedef {Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">} Drawer */

export class Drafts {
  /** @param {() => Drawer} drawer throws where the browser keeps nothing @param {() => number} now */
  constructor(drawer, now) {
    this.drawer = drawer;
    this.now = now;
  }

  /** @param {string | null} id of a session; null: a new conversation @returns {string} */
  read(id) {
    return this.#attempt((drawer) => parse(drawer.getItem(keyOf(id))).text) ?? "";
  }

  /** @param {string | null} id @param {string} text */
  write(id, text) {
    this.#attempt((drawer) => {
      if (!text.trim() || text.length > MAX_LENGTH) return drawer.removeItem(keyOf(id));
      drawer.setItem(keyOf(id), JSON.stringify({ text, at: this.now() }));
      const keys = keysOf(drawer);
      if (keys.length <= MAX_DRAFTS) return;
      const oldest = keys.map((key) => ({ key, at: parse(drawer.getItem(key)).at })).sort((a, b) => a.at - b.at);
      for (const { key } of oldest.slice(0, keys.length - MAX_DRAFTS)) drawer.removeItem(key);
    });
  }

  /** Forget the drafts of all conversations: they are the user's who has gone. */
  clear() {
    this.#attempt((drawer) => {
      for (const key of keysOf(drawer)) drawer.removeItem(key);
    });
  }

  /** Storage may be off, or full: then nothing is kept. @template T @param {(drawer: Drawer) => T} work */
  #attempt(work) {
    try {
      return work(this.drawer());
    } catch {
      return undefined;
    }
  }
}

/** @param {string | null} id */
const keyOf = (id) => PREFIX + (id ?? "new");

/** @param {Drawer} drawer */
const keysOf = (drawer) =>
  Array.from({ length: drawer.length }, (_, index) => drawer.key(index) ?? "").filter((key) => key.startsWith(PREFIX));

/** What is stored may be anything. @param {string | null} stored @returns {{text: string, at: number}} */
function parse(stored) {
  try {
    const { text, at } = JSON.parse(stored ?? "{}");
    return { text: typeof text === "string" ? text : "", at: Number(at) || 0 };
  } catch {
    return { text: "", at: 0 };
  }
}
