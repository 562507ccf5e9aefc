/** The user's API keys: made, shown once, and revoked. */

import { byId } from "../ui/dom.js";
import { oneLine } from "../ui/one-line.js";
import { t } from "../ui/strings.js";
import { exactly } from "../ui/time.js";

export class ApiKeyList {
  #list = byId("api-key-list");
  #form = byId("new-key", HTMLFormElement);
  #name = byId("key-name", HTMLInputElement);
  #made = byId("made-key", HTMLInputElement);
  #madeField = byId("made-key-field");
  #madeId = "";

  /** @param {import("../api/account.js").AccountApi} api @param {(error: unknown) => void} failed */
  constructor(api, failed) {
    this.api = api;
    this.failed = failed;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#make();
    });
    this.#made.addEventListener("focus", () => this.#made.select());
  }

  /** A secret is shown once, and never again; and no user sees what another has. */
  clear() {
    this.#forget();
    this.#list.replaceChildren();
  }

  #forget() {
    this.#made.value = this.#madeId = "";
    this.#madeField.hidden = true;
  }

  /** Show those that there are. */
  async load() {
    try {
      this.#list.replaceChildren(...(await this.api.keys()).map((key) => this.#row(key)));
    } catch (error) {
      this.failed(error);
    }
  }

  /** @param {import("../api/account.js").ApiKey} key */
  #row({ id, name, created_at: at }) {
    const row = document.createElement("li");
    const words = document.createElement("div");
    const title = document.createElement("strong");
    title.dir = "auto";
    title.textContent = name;
    const since = document.createElement("span");
    since.textContent = exactly(at);
    words.append(title, since);
    const revoke = document.createElement("button");
    revoke.type = "button";
    revoke.className = "secondary";
    revoke.textContent = t("keys.revoke");
    revoke.ariaLabel = t("keys.revokeLabel", { name });
    revoke.addEventListener("click", () => void this.#revoke(id));
    row.append(words, revoke);
    return row;
  }

  async #make() {
    const name = oneLine(this.#name.value);
    if (!name) return this.#name.focus();
    try {
      const { id, key } = await this.api.createKey(name);
      [this.#made.value, this.#madeId] = [key, id];
      this.#madeField.hidden = false;
      this.#name.value = "";
      this.#made.focus();
    } catch (error) {
      this.failed(error);
    }
    await this.load();
  }

  /** @param {string} id */
  async #revoke(id) {
    try {
      await this.api.revokeKey(id);
      if (id === this.#madeId) this.#forget();
    } catch (error) {
      this.failed(error);
    }
    await this.load();
    this.#name.focus();
  }
}
