/** Shows the messages. The list grows at its end and, with earlier pages, at its beginning; nodes stay as they are. */

import { AnswerBody } from "./answer-body.js";
import { recoveryAction, thinkingSummary, statusLine } from "./answer-status.js";
import { ThinkingView } from "./thinking-view.js";
import { copyText } from "../ui/clipboard.js";
import { t } from "../ui/strings.js";

/** @typedef {import("./reducer.js").Item} Item */
/** @typedef {{node: HTMLElement, thinkingView: ThinkingView | null, body: AnswerBody | null, item?: Item,
 *   isLast?: boolean, words?: string}} Row */

/** Milliseconds after which a screen reader has passed over what was put into the log. */
const QUIET_PERIOD = 500;

export class MessageList {
  /** @type {Row[]} */ #rows = [];

  /**
   * @param {HTMLElement} log
   * @param {{retry: () => void, continue: () => void, toggling: () => void, copied: (ok: boolean) => void,
   *   label: (model: string) => string}} on
   *   `toggling`: the reader opens or closes the thinking
   */
  constructor(log, on) {
    this.log = log;
    this.on = on;
  }

  /** @param {Item[]} items @param {boolean} busy more of it is on the way */
  show(items, busy) {
    // A screen reader hears an answer once it is whole, and not token by token.
    this.log.ariaBusy = String(busy);
    this.#prepend(items);
    for (const [index, item] of items.entries()) {
      let row = this.#rows[index];
      if (row?.node.dataset.role !== item.role) {
        this.#truncate(index);
        row = this.#newRow(item.role);
        this.#rows.push(row);
        this.log.append(row.node);
      }
      const isLast = index === items.length - 1;
      const words = item.role === "user" ? "" : statusLine(item, this.on.label);
      const unchanged = row.isLast === isLast && row.words === words && looksLike(row.item, item);
      Object.assign(row, { item, isLast, words });
      if (unchanged) continue;
      if (item.role === "user") renderQuestion(row.node, item);
      else this.#renderAnswer(row, item, isLast, words);
    }
    this.#truncate(items.length);
  }

  /** Add rows for items before the first one shown. They are old, and not to be read out. @param {Item[]} items */
  #prepend(items) {
    const [first] = this.#rows;
    const count = first?.item?.id ? items.findIndex(({ id }) => id === first.item?.id) : 0;
    if (count <= 0) return;
    const fresh = items.slice(0, count).map(({ role }) => this.#newRow(role));
    this.log.ariaLive = "off";
    first.node.before(...fresh.map(({ node }) => node));
    this.#rows.unshift(...fresh);
    setTimeout(() => this.log.removeAttribute("aria-live"), QUIET_PERIOD);
  }

  /** @param {number} length */
  #truncate(length) {
    for (const { node } of this.#rows.splice(length)) node.remove();
  }

  /** @param {Item["role"]} role @returns {Row} */
  #newRow(role) {
    if (role === "user") return { node: articleFor(role, bodyOfQuestion()), thinkingView: null, body: null };
    const [thinkingView, body] = [new ThinkingView(this.on.toggling), new AnswerBody((text) => void this.#copy(text))];
    const node = articleFor(role, thinkingView.node, body.node, footer());
    return { node, thinkingView, body };
  }

  /** @param {Row} row @param {Item} item @param {boolean} isLast @param {string} words the status line */
  #renderAnswer({ node, thinkingView, body }, item, isLast, words) {
    node.dataset.state = item.state;
    thinkingView?.show(thinkingSummary(item), item.thinking ?? "");
    body?.show({
      text: item.text, html: item.state === "streaming" ? null : item.html ?? null, blocks: item.blocks ?? [],
    });

    const foot = part(node, ".answer-footer");
    part(foot, ".answer-status").textContent = words;

    const actions = [];
    if (item.text && item.state !== "streaming") actions.push(button(t("message.copy"), t("message.copyLabel"), () => this.#copy(item.text)));
    const action = isLast ? recoveryAction(item) : null;
    if (action === "retry") actions.push(button(t("message.retry"), t("message.retry"), this.on.retry));
    if (action === "continue") actions.push(button(t("message.continue"), t("message.continueLabel"), this.on.continue));
    // Replacing a focused button would throw the focus away.
    const shown = part(foot, ".actions");
    if (shown.textContent !== actions.map(({ textContent }) => textContent).join("")) shown.replaceChildren(...actions);
  }

  /** @param {string} text */
  async #copy(text) {
    this.on.copied(await copyText(text));
  }
}

/** Whether two items look the same. Not by what was rendered: comparing a whole conversation letter by letter takes too
 * long for every token.
 * @param {Item | undefined} a @param {Item} b */
const looksLike = (a, b) => a !== undefined && a.live === b.live && a.state === b.state && a.text === b.text
  && a.html === b.html && a.blocks === b.blocks
  && a.thinking === b.thinking && a.thinking_seconds === b.thinking_seconds;

/** @param {HTMLElement} node @param {Item} item */
function renderQuestion(node, item) {
  node.dataset.state = item.state;
  part(node, ".body").textContent = item.text;
}

/** @param {Item["role"]} role @param {...HTMLElement} parts */
function articleFor(role, ...parts) {
  const node = document.createElement("article");
  node.dataset.role = role;
  node.ariaLabel = t(role === "user" ? "message.question" : "message.answer");
  node.append(...parts);
  return node;
}

function bodyOfQuestion() {
  const body = document.createElement("div");
  body.className = "body";
  return body;
}

function footer() {
  const foot = document.createElement("p");
  foot.className = "answer-footer";
  for (const name of ["answer-status", "actions"]) {
    const span = document.createElement("span");
    span.className = name;
    foot.append(span);
  }
  return foot;
}

/** @param {ParentNode} node @param {string} selector */
const part = (node, selector) => /** @type {HTMLElement} */ (node.querySelector(selector));

/** @param {string} text @param {string} label @param {() => void} press */
function button(text, label, press) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "link";
  made.textContent = text;
  made.ariaLabel = label;
  made.addEventListener("click", press);
  return made;
}
