/** The account's dialogs: a new password, the logins, the account's deletion. */

import { Problem } from "../api/problem.js";
import { byId } from "../ui/dom.js";
import { focusIsFree } from "../ui/focus.js";
import { closeOnBackdropClick, FormDialog, slugOf } from "../ui/form-dialog.js";
import { errorMessage, retryHint } from "../api/error-messages.js";
import { exactly, relative } from "../ui/time.js";
import { t } from "../ui/strings.js";

/**
 * @typedef {{api: import("../api/account.js").AccountApi, failed: (error: unknown) => boolean,
 *   succeeded: (words: string) => void, now: () => number}} Page
 *   `now`: the server's time; `failed`: whether the page itself knows what to do about an error; `succeeded`: says so
 */

/** @param {Page} page */
export function passwordDialog(page) {
  const dialog = new FormDialog(byId("change-password", HTMLDialogElement), {
    async send(form) {
      try {
        await page.api.changePassword(
          String(form.get("current_password")), String(form.get("new_password")), form.has("end_other_logins"));
      } catch (error) {
        if (!page.failed(error)) throw error;
        return;
      }
      dialog.close();
      page.succeeded(t("password.changed"));
    },
    explain(error) {
      switch (slugOf(error)) {
        case "login-failed": return { field: "current_password", words: t("password.currentWrong") };
        case "password-refused": return { field: "new_password", words: t("password.refused") };
        default: return rateLimited(error);
      }
    },
  });
  return dialog;
}

/** @param {Page} page @param {() => void} deleted */
export function deleteDialog(page, deleted) {
  const dialog = new FormDialog(byId("delete-account", HTMLDialogElement), {
    async send(form) {
      try {
        await page.api.deleteAccount(String(form.get("password")));
      } catch (error) {
        if (!page.failed(error)) throw error;
        return;
      }
      dialog.close();
      deleted();
    },
    explain(error) {
      if (slugOf(error) === "login-failed") return { field: "password", words: t("deletion.passwordWrong") };
      if (error instanceof Problem && error.field === "password") return { field: "password", words: t("signIn.passwordMissing") };
      return rateLimited(error);
    },
  });
  return dialog;
}

/** @param {unknown} error */
const rateLimited = (error) =>
  error instanceof Problem && error.slug === "rate-limited" ? { words: t("retry.tooManyAttempts", { hint: retryHint(error.retryAfter) }) } : null;

/** The logins of the account: this browser's and others, which can be ended. */
export class LoginsDialog {
  #dialog = byId("logins", HTMLDialogElement);
  #list = byId("logins-list");

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    closeOnBackdropClick(this.#dialog);
    for (const closer of this.#dialog.querySelectorAll("[data-close]")) {
      closer.addEventListener("click", () => this.close());
    }
  }

  open() {
    this.#list.replaceChildren();
    this.#showError("");
    this.#dialog.showModal();
    void this.#load();
  }

  close() {
    this.#dialog.close();
  }

  async #load() {
    this.#list.ariaBusy = "true";
    await this.#attempt(async () => {
      const logins = await this.page.api.logins();
      logins.sort((a, b) => Number(b.current) - Number(a.current));
      this.#list.replaceChildren(...logins.map((login) => this.#row(login)));
    });
    this.#list.ariaBusy = "false";
  }

  /** @param {import("../api/account.js").Login} login */
  #row(login) {
    const now = this.page.now();
    const row = document.createElement("li");
    const words = document.createElement("div");
    const name = document.createElement("strong");
    name.textContent = t(login.current ? "logins.this" : "logins.another");
    const used = document.createElement("span");
    used.append(...around(t("logins.used", { when: MOMENT }), moment(login.last_used_at, now)));
    const since = document.createElement("span");
    since.append(...around(t("logins.since", { when: MOMENT }), moment(login.created_at, now)));
    words.append(name, used, since);
    row.append(words);
    if (!login.current) {
      const end = document.createElement("button");
      end.type = "button";
      end.className = "secondary";
      end.textContent = t("logins.end");
      end.ariaLabel = t("logins.endLabel", { when: relative(login.created_at, now) });
      end.addEventListener("click", () => void this.#end(login.id, row));
      row.append(end);
    }
    return row;
  }

  /** @param {string} id @param {HTMLElement} row */
  async #end(id, row) {
    const ended = await this.#attempt(() => this.page.api.endLogin(id));
    if (!ended) return;
    row.remove();
    this.page.succeeded(t("logins.ended"));
    if (focusIsFree()) /** @type {HTMLElement} */ (this.#dialog.querySelector("[data-close]")).focus();
  }

  /** @param {() => Promise<unknown>} work */
  async #attempt(work) {
    this.#showError("");
    try {
      await work();
      return true;
    } catch (error) {
      if (slugOf(error) === "unknown-login") return true; // gone is gone
      if (!this.page.failed(error)) this.#showError(errorMessage(error));
      return false;
    }
  }

  /** @param {string} words */
  #showError(words) {
    const wrong = /** @type {HTMLElement} */ (this.#dialog.querySelector(".form-error"));
    wrong.textContent = words;
    wrong.hidden = !words;
  }
}

/** Stands for a moment in a sentence, until its element is there. */
const MOMENT = "\0";

/** The words of a sentence before and after a moment, and the moment. @param {string} sentence @param {HTMLElement} time */
function around(sentence, time) {
  const [before, after] = sentence.split(MOMENT);
  return [before, time, after];
}

/** @param {string} at @param {number} now */
function moment(at, now) {
  const time = document.createElement("time");
  time.dateTime = at;
  time.textContent = relative(at, now);
  time.title = exactly(at);
  return time;
}
