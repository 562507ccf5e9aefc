/** The list of the user's conversations, last active first: each can be opened, renamed and deleted. */

import { icon } from "../ui/icon.js";
import { daysSince, exactly, relative } from "../ui/time.js";
import { isEscape } from "../ui/keys.js";
import { oneLine } from "../ui/one-line.js";
import { t } from "../ui/strings.js";

/**
 * @typedef {import("../api/client.js").Listed} Listed
 * @typedef {object} On
 * @property {() => number} now the server's time
 * @property {(id: string) => void} open
 * @property {(id: string) => string} address
 * @property {(id: string, title: string) => Promise<void>} rename throws what went wrong
 * @property {(id: string) => Promise<void>} remove throws what went wrong
 * @property {() => void} more
 * @property {(error: unknown) => void} failed
 */

const UNTITLED = t("list.untitled");

/** @param {string} words @param {HTMLElement[]} rows */
function group(words, rows) {
  const title = document.createElement("h3");
  title.textContent = words;
  const list = document.createElement("ol");
  list.append(...rows);
  return [title, list];
}

/** A dot, and its words for those who don't see it. @param {string} kind @param {string} words */
function mark(kind, words) {
  const dot = document.createElement("span");
  dot.className = `mark ${kind}`;
  dot.title = words;
  const told = document.createElement("span");
  told.className = "visually-hidden";
  told.textContent = words;
  dot.append(told);
  return dot;
}

/** The words around what was searched for. @param {NonNullable<Listed["snippet"]>} pieces */
function snippetOf(pieces) {
  const words = document.createElement("span");
  words.className = "snippet";
  words.dir = "auto";
  for (const { text, hit } of pieces) {
    const piece = document.createElement(hit ? "mark" : "span");
    piece.textContent = text;
    words.append(piece);
  }
  return words;
}

/** @param {string} at @param {number} now */
function dateGroup(at, now) {
  const days = daysSince(at, now);
  if (days < 1) return t("list.today");
  return days < 2 ? t("list.yesterday") : t(days < 7 ? "list.week" : "list.older");
}

export class SessionList {
  /** @type {readonly Listed[]} */ #sessions = [];
  /** @type {string | null} */ #current = null;
  /** The form that is open in the place of a row. @type {{id: string, what: "rename" | "delete"} | null} */ #openForm = null;
  #busy = false;

  /** @param {{list: HTMLElement, more: HTMLButtonElement}} parts @param {On} on */
  constructor(parts, on) {
    this.parts = parts;
    this.on = on;
    parts.more.addEventListener("click", on.more);
    parts.list.addEventListener("keydown", (event) => {
      if (!isEscape(event) || !this.#openForm) return;
      event.preventDefault(); // or the drawer around it would close as well
      this.#closeForm();
    });
  }

  /** @param {readonly Listed[]} sessions @param {boolean} more whether there are older ones */
  show(sessions, more) {
    this.#sessions = sessions;
    if (!sessions.some(({ session_id }) => session_id === this.#openForm?.id)) this.#openForm = null;
    this.parts.more.hidden = !more;
    this.#draw();
  }

  /** @param {string | null} id of the session on screen */
  set current(/** @type {string | null} */ id) {
    if (id === this.#current) return;
    this.#current = id;
    this.#draw();
  }

  #draw() {
    const { list } = this.parts;
    const focused = list.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement) : null;
    const typed = this.#openForm ? list.querySelector("input")?.value : undefined;
    const now = this.on.now();
    /** @type {Map<string, HTMLElement[]>} */ const groups = new Map();
    for (const session of this.#sessions) {
      const words = dateGroup(session.last_active_at, now);
      groups.set(words, [...groups.get(words) ?? [], this.#row(session)]);
    }
    list.replaceChildren(...[...groups].flatMap(([words, rows]) => group(words, rows)));
    const field = list.querySelector("input");
    if (field && typed !== undefined) field.value = typed;
    if (focused?.dataset.key) this.#focus(focused.dataset.key);
  }

  /** @param {string} key */
  #focus(key) {
    const found = /** @type {HTMLElement | null} */ (this.parts.list.querySelector(`[data-key="${CSS.escape(key)}"]`));
    (found ?? /** @type {HTMLElement | null} */ (this.parts.list.querySelector("a, button")))?.focus();
  }

  /** @param {Listed} session */
  #row(session) {
    const row = document.createElement("li");
    const form = this.#openForm?.id === session.session_id ? this.#openForm.what : null;
    if (form === "rename") row.append(this.#renameForm(session));
    else if (form === "delete") row.append(this.#deleteForm(session));
    else row.append(...this.#rowContents(session));
    return row;
  }

  /** @param {Listed} session */
  #rowContents({ session_id: id, title, last_active_at: at, answering, unread, snippet = [] }) {
    const open = document.createElement("a");
    open.href = this.on.address(id);
    open.className = "open";
    open.dataset.key = `open ${id}`;
    const name = document.createElement("span");
    name.className = "name";
    name.dir = "auto";
    name.textContent = title || UNTITLED;
    const time = document.createElement("time");
    time.dateTime = at;
    time.textContent = relative(at, this.on.now());
    time.title = exactly(at);
    open.append(name, time);
    if (answering) name.before(mark("answering", t("list.answering")));
    else if (unread && id !== this.#current) name.before(mark("unread", t("list.unread")));
    if (snippet.length > 0) open.append(snippetOf(snippet));
    if (id === this.#current) open.ariaCurrent = "page";
    open.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return; // in a tab or window of its own
      event.preventDefault();
      this.on.open(id);
    });
    const shown = title || UNTITLED;
    return [
      open,
      this.#tool("rename", t("list.renameLabel", { title: shown }), id),
      this.#tool("delete", t("list.deleteLabel", { title: shown }), id),
    ];
  }

  /** @param {"rename" | "delete"} what @param {string} label @param {string} id */
  #tool(what, label, id) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = `tool ${what}`;
    button.ariaLabel = label;
    button.title = t(what === "rename" ? "list.rename" : "delete");
    button.dataset.key = `${what} ${id}`;
    button.append(icon(what));
    button.addEventListener("click", () => {
      this.#openForm = { id, what };
      this.#draw();
      const first = /** @type {HTMLElement | null} */ (this.parts.list.querySelector("[data-first]"));
      first?.focus();
      if (first instanceof HTMLInputElement) first.select();
    });
    return button;
  }

  /** @param {Listed} session */
  #renameForm({ session_id: id, title }) {
    const form = document.createElement("form");
    form.className = "row-form";
    const field = document.createElement("input");
    field.ariaLabel = t("list.titleField");
    field.dir = "auto";
    field.maxLength = 200;
    field.value = title ?? "";
    field.autocomplete = "off";
    field.dataset.first = "";
    field.dataset.key = `title ${id}`;
    form.append(field, this.#formButtons(t("save"), "primary"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const wanted = oneLine(field.value);
      if (!wanted || wanted === title) return this.#closeForm();
      void this.#finish(() => this.on.rename(id, wanted));
    });
    return form;
  }

  /** @param {Listed} session */
  #deleteForm({ session_id: id, title }) {
    const form = document.createElement("form");
    form.className = "row-form";
    const question = document.createElement("p");
    question.id = "delete-question";
    question.textContent = t("list.deleteQuestion", { title: title || UNTITLED });
    form.setAttribute("aria-labelledby", question.id);
    const answers = this.#formButtons(t("delete"), "danger");
    /** @type {HTMLElement} */ (answers.lastElementChild).dataset.first = "";
    form.append(question, answers);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#finish(() => this.on.remove(id));
    });
    return form;
  }

  /** @param {string} yes @param {string} kind */
  #formButtons(yes, kind) {
    const answers = document.createElement("div");
    answers.className = "actions";
    const submit = document.createElement("button");
    submit.className = kind;
    submit.textContent = yes;
    const cancel = document.createElement("button");
    cancel.type = "button";
    cancel.className = "secondary";
    cancel.textContent = t("cancel");
    cancel.addEventListener("click", () => this.#closeForm());
    answers.append(submit, cancel);
    return answers;
  }

  /** @param {() => Promise<void>} work */
  async #finish(work) {
    if (this.#busy) return;
    this.#busy = true;
    try {
      await work();
    } catch (error) {
      this.on.failed(error);
    }
    this.#busy = false;
    this.#closeForm();
  }

  /** Show the row again, with the focus where it came from. */
  #closeForm() {
    if (!this.#openForm) return;
    const { id, what } = this.#openForm;
    const here = this.parts.list.contains(document.activeElement) || document.activeElement === document.body;
    this.#openForm = null;
    this.#draw();
    if (here) this.#focus(`${what} ${id}`);
  }
}
