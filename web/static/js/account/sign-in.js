/** The dialog for signing in and for creating an account. */

import * as accountApi from "../api/account.js";
import { Problem } from "../api/client.js";
import { FormDialog, slugOf } from "../ui/form-dialog.js";
import { retryHint } from "../api/error-messages.js";

const SHORTEST = 8;
const WORDS = {
  "sign-in": { title: "Sign in", submit: "Sign in", other: "Create an account", lead: "New here?" },
  "create": { title: "Create an account", submit: "Create account", other: "Sign in", lead: "Have an account?" },
};

/** @typedef {keyof typeof WORDS} Mode */

export class SignIn {
  /** @type {Mode} */ #mode = "sign-in";
  #form;

  /** @param {HTMLDialogElement} dialog @param {(user: accountApi.User) => void} done */
  constructor(dialog, done) {
    this.dialog = dialog;
    this.#form = new FormDialog(dialog, {
      send: async (form) => {
        const ask = this.#mode === "create" ? accountApi.register : accountApi.signIn;
        const user = await ask(String(form.get("email")).trim(), String(form.get("password")));
        this.#form.close();
        done(user);
      },
      explain,
    });
    this.#part("switch")?.addEventListener("click", () => {
      this.#show(this.#mode === "create" ? "sign-in" : "create");
      this.#form.clear();
      (this.#email.value ? this.#password : this.#email).focus();
    });
  }

  open() {
    this.#show("sign-in");
    this.#form.open();
  }

  close() {
    this.#form.close();
  }

  /** @param {Mode} mode */
  #show(mode) {
    this.#mode = mode;
    const words = WORDS[mode];
    const creating = mode === "create";
    this.#write("title", words.title);
    this.#write("submit", words.submit);
    this.#write("lead", words.lead);
    this.#write("switch", words.other);
    this.#password.autocomplete = creating ? "new-password" : "current-password";
    this.#password.minLength = creating ? SHORTEST : 0;
    const hint = document.getElementById("password-hint");
    if (hint) hint.hidden = !creating;
    this.#password.setAttribute("aria-describedby", creating ? "password-hint password-error" : "password-error");
  }

  /** @param {string} name */
  #part(name) {
    return document.getElementById(`sign-in-${name}`);
  }

  /** @param {string} name @param {string} words */
  #write(name, words) {
    const part = this.#part(name);
    if (part) part.textContent = words; // a server without registration has no switch
  }

  get #email() {
    return /** @type {HTMLInputElement} */ (document.getElementById("email"));
  }

  get #password() {
    return /** @type {HTMLInputElement} */ (document.getElementById("password"));
  }
}

/** @param {unknown} error */
function explain(error) {
  switch (slugOf(error)) {
    case "login-failed": return { field: "password", words: "The e-mail address or the password is wrong." };
    case "email-taken": return { field: "email", words: "This e-mail address has an account already. Sign in instead." };
    case "password-refused": return { field: "password", words: /** @type {Problem} */ (error).message };
    case "rate-limited": return { words: `Too many attempts. ${retryHint(/** @type {Problem} */ (error).retryAfter)}` };
    default: return null;
  }
}
