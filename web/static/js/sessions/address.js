/** The address of the page: /c/<id> for a conversation, the root for a new one. */

export class Address {
  /**
   * @param {string} root the path below which the server is
   * @param {{moved: () => void, left: () => void, renamed: () => void}} on `moved`: back or forward; `left`: that, or
   *   another conversation was opened; `renamed`: the one on screen has another address
   */
  constructor(root, on) {
    this.root = root;
    this.on = on;
    addEventListener("popstate", () => {
      on.left();
      on.moved();
    });
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
    if (id === this.id) return;
    history.pushState(null, "", this.of(id));
    this.on.left();
  }

  /** The conversation on screen has, or has lost, its address. @param {string | null} id */
  replace(id) {
    if (id === this.id) return;
    history.replaceState(null, "", this.of(id));
    this.on.renamed();
  }
}
