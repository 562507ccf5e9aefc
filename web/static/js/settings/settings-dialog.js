/** The settings: of this browser, of the conversation on screen, and the user's API keys. */

import { errorMessage, MAX_INSTRUCTIONS } from "../api/error-messages.js";
import { isBlank } from "../ui/blank.js";
import { byId } from "../ui/dom.js";
import { closeOnBackdropClick } from "../ui/form-dialog.js";
import { size } from "../ui/size.js";
import { t } from "../ui/strings.js";
import { ApiKeyList } from "./api-keys.js";
import { choose, chosen, setNotifications, wantsNotifications } from "./preferences.js";

/**
 * @typedef {object} Page
 * @property {import("../api/client.js").ApiClient} api
 * @property {import("../api/account.js").AccountApi} accountApi
 * @property {() => import("../api/client.js").Session | null} session the one on screen
 * @property {() => boolean} beginning whether the first question will make one
 * @property {import("./early-settings.js").EarlySettings} early
 * @property {() => boolean} signedIn
 * @property {import("../ui/notifications.js").Notifications} notifications
 * @property {(settings: import("./early-settings.js").ConversationSettings) => Promise<void>} change give them to the session
 */

const bytes = new TextEncoder();

export class SettingsDialog {
  #dialog = byId("settings", HTMLDialogElement);
  #theme = byId("theme", HTMLSelectElement);
  #language = byId("language", HTMLSelectElement);
  #notify = byId("notify", HTMLInputElement);
  #conversation = byId("conversation-settings", HTMLFormElement);
  #instructions = byId("instructions", HTMLTextAreaElement);
  #instructionsError = byId("instructions-error");
  #export = byId("export", HTMLButtonElement);
  #temperature = byId("temperature", HTMLInputElement);
  #temperatureError = byId("temperature-error");
  #error = byId("settings-error");

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.keys = new ApiKeyList(page.accountApi, (error) => this.#show(errorMessage(error)));
    closeOnBackdropClick(this.#dialog);
    for (const closer of this.#dialog.querySelectorAll("[data-close]")) {
      closer.addEventListener("click", () => this.#dialog.close());
    }
    this.#theme.addEventListener("change", () => {
      choose(page.api.root, "theme", this.#theme.value);
      document.documentElement.dataset.theme = this.#theme.value;
    });
    this.#language.addEventListener("change", () => {
      choose(page.api.root, "language", this.#language.value);
      location.reload(); // drafts are kept, and answers go on
    });
    this.#notify.addEventListener("change", async () => {
      const wanted = this.#notify.checked;
      this.#notify.checked = await setNotifications(wanted);
      this.#show(wanted && !this.#notify.checked ? t("settings.notifyRefused") : "");
    });
    this.#conversation.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#save();
    });
    this.#instructions.addEventListener("input", () => this.#measure());
    this.#temperature.addEventListener("input", () => this.#checkTemperature());
    this.#dialog.addEventListener("close", () => this.keys.clear());
    this.#export.addEventListener("click", () => void this.#download());
  }

  open() {
    const session = this.page.session();
    const known = this.page.early.any ? this.page.early.wanted : session;
    this.#show("");
    this.#theme.value = chosen("theme");
    this.#language.value = chosen("language");
    this.#notify.checked = wantsNotifications();
    this.#conversation.hidden = session === null && !this.page.beginning();
    this.#export.hidden = session === null;
    this.#instructions.value = known?.system_prompt ?? "";
    this.#temperature.value = known?.temperature == null ? "" : String(known.temperature);
    this.#measure();
    this.#checkTemperature();
    byId("api-keys").hidden = !this.page.signedIn();
    this.#dialog.showModal();
    this.#theme.focus();
    if (this.page.signedIn()) void this.keys.load();
  }

  close() {
    this.#dialog.close();
  }

  /** Instructions that are too long say by how much. @returns {boolean} whether they fit */
  #measure() {
    const over = bytes.encode(this.#instructions.value.trim()).length - MAX_INSTRUCTIONS;
    this.#instructions.ariaInvalid = String(over > 0);
    this.#instructionsError.textContent = over > 0 ? t("composer.over", { size: size(over) }) : "";
    this.#instructionsError.hidden = over <= 0;
    return over <= 0;
  }

  /** In the page's words, and of any precision: the field's step is that of its arrows. @returns {boolean} whether it is one */
  #checkTemperature() {
    const { badInput, rangeOverflow, rangeUnderflow } = this.#temperature.validity;
    const wrong = badInput || rangeOverflow || rangeUnderflow;
    this.#temperature.ariaInvalid = String(wrong);
    this.#temperatureError.hidden = !wrong;
    return !wrong;
  }

  async #save() {
    if (!this.#measure()) return this.#instructions.focus();
    if (!this.#checkTemperature()) return this.#temperature.focus();
    const temperature = this.#temperature.value === "" ? null : this.#temperature.valueAsNumber;
    const instructions = this.#instructions.value;
    const settings = { system_prompt: isBlank(instructions) ? null : instructions.trim(), temperature };
    await this.#attempt(async () => {
      if (this.page.session()) await this.page.change(settings);
      else this.page.early.want(settings);
      this.#dialog.close();
      this.page.notifications.succeeded(t("settings.saved"), t("settings.saved"));
    });
  }

  /** As a file of the reader's; a plain link could not name a user's session. */
  async #download() {
    await this.#attempt(async () => {
      const { data } = await this.page.api.exportSession();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([JSON.stringify(data, null, 2)], { type: "application/json" }));
      link.download = `conversation-${data.session_id}.json`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    });
  }

  /** @param {() => Promise<void>} work */
  async #attempt(work) {
    this.#show("");
    try {
      await work();
    } catch (error) {
      this.#show(errorMessage(error));
    }
  }

  /** @param {string} words */
  #show(words) {
    this.#error.textContent = words;
    this.#error.hidden = !words;
  }
}
