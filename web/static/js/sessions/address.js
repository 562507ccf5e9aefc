/** The address of the page: /c/<id> for a conversation, the root for a new one. */

export class Address {
  /** @param {string} root the path below which the server is @param {(id: string | null) => void} moved back or forward */
  constructor(root, moved) {
    this.root = root;
    addEventListener("popstate", () => moved(this.id));
  }

  /** The session that the address names; null: none. */
  get id() {
    const [, id] = location.pathname.slice(this.root.length).match(/^\/c\/([^/]+)$/) ?? [];
    return id ? id.toLowerCase() : null;
  }

  /** Where a conversation is. @param {string | null} id null: a new one @returns {string} */
  of(id) {
    return `${this.root}/${id ? `c/${id}` : ""}`;
  }

  /** Another conversation is on screen; "back" leads to the one before. @param {string | null} id */
  push(id) {
    if (id !== this.id) history.pushState(null, "", this.of(id));
  }

  /** The conversation on screen has, or has lost, its address. @param {string | null} id */
  replace(id) {
    if (id !== this.id) history.replaceState(null, "", this.of(id));
  }
}
