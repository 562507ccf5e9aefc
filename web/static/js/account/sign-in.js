/** The dialog for signing in and for creating an account. */

import { retryHint } from "../api/error-messages.js";
import { byId } from "../ui/dom.js";
import { FormDialog, slugOf } from "../ui/form-dialog.js";
import { t } from "../ui/strings.js";

const SHORTEST = 8;
const WORDS = {
  "sign-in": { title: t("signIn.title"), submit: t("signIn.submit"), other: t("signIn.other"), lead: t("signIn.lead") },
  "create": {
    title: t("signIn.createTitle"), submit: t("signIn.createSubmit"), other: t("signIn.createOther"), lead: t("signIn.createLead"),
  },
};

/** @typedef {keyof typeof WORDS} Mode */

export class SignIn {
  /** @type {Mode} */ #mode = "sign-in";
  #form;

  /**
   * @param {HTMLDialogElement} dialog @param {import("../api/account.js").AccountApi} api
   * @param {(user: import("../api/account.js").User) => void} done
   */
  constructor(dialog, api, done) {
    this.dialog = dialog;
    this.#form = new FormDialog(dialog, {
      send: async (form) => {
        const [email, password] = [String(form.get("email")).trim(), String(form.get("password"))];
        const user = await (this.#mode === "create" ? api.register(email, password) : api.signIn(email, password));
        this.#form.close();
        done(user);
      },
      explain,
    });
    document.getElementById("sign-in-switch")?.addEventListener("click", () => {
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
    byId("sign-in-title").textContent = words.title;
    byId("sign-in-submit").textContent = words.submit;
    const [lead, other] = [document.getElementById("sign-in-lead"), document.getElementById("sign-in-switch")];
    if (lead) lead.textContent = words.lead; // a server without registration has neither
    if (other) other.textContent = words.other;
    this.#password.autocomplete = creating ? "new-password" : "current-password";
    this.#password.minLength = creating ? SHORTEST : 0;
    byId("password-hint").hidden = !creating;
    this.#password.setAttribute("aria-describedby", creating ? "password-hint password-error" : "password-error");
  }

  get #email() {
    return byId("email", HTMLInputElement);
  }

  get #password() {
    return byId("password", HTMLInputElement);
  }
}

/** @param {unknown} error */
function explain(error) {
  switch (slugOf(error)) {
    case "login-failed": return { field: "password", words: t("signIn.wrong") };
    case "email-taken": return { field: "email", words: t("signIn.emailTaken") };
    case "password-refused": return { field: "password", words: t("password.refused") };
    case "rate-limited": return { words: t("retry.tooManyAttempts", { hint: retryHint(/** @type {import("../api/problem.js").Problem} */ (error).retryAfter) }) };
    default: return null;
  }
}
