/** Shows the messages. The list grows at its end and, with earlier pages, at its beginning; nodes stay as they are. */

import { AnswerBody } from "./answer-body.js";
import { AnswerFooter } from "./answer-footer.js";
import { thinkingSummary, statusLine } from "./answer-status.js";
import { QuestionActions } from "./question-actions.js";
import { ThinkingView } from "./thinking-view.js";
import { copyText } from "../ui/clipboard.js";
import { t } from "../ui/strings.js";

/**
 * @typedef {import("./reducer.js").Item} Item
 * @typedef {{node: HTMLElement, question: QuestionActions, item?: Item, isLast?: boolean, words?: string}} QuestionRow
 * @typedef {{node: HTMLElement, question: null, thinkingView: ThinkingView, body: AnswerBody, footer: AnswerFooter,
 *   item?: Item, isLast?: boolean, words?: string}} AnswerRow
 * @typedef {QuestionRow | AnswerRow} Row
 */

/** Milliseconds after which a screen reader has passed over what was put into the log. */
const QUIET_PERIOD = 500;

export class MessageList {
  /** @type {Row[]} */ #rows = [];

  /**
   * @param {HTMLElement} log
   * @param {import("./answer-footer.js").On & import("./question-actions.js").On & {toggling: () => void,
   *   label: (model: string) => string}} on `toggling`: the reader opens or closes the thinking
   */
  constructor(log, on) {
    this.log = log;
    this.on = on;
  }

  /** @param {Item[]} items @param {boolean} busy more of it is on the way @param {boolean} idle whether another answer may
   * be asked for */
  show(items, busy, idle) {
    // A screen reader hears an answer once it is whole, and not token by token.
    this.log.ariaBusy = String(busy);
    this.log.toggleAttribute("data-idle", idle);
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
      if (row.question) renderQuestion(row, item);
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
    for (const { node, question } of this.#rows.splice(length)) {
      question?.leave();
      node.remove();
    }
  }

  /** @param {Item["role"]} role @returns {Row} */
  #newRow(role) {
    if (role === "user") {
      const body = bodyOfQuestion();
      const question = new QuestionActions(body, this.on);
      return { node: articleFor(role, body, question.node), question };
    }
    const thinkingView = new ThinkingView(this.on.toggling);
    const body = new AnswerBody(async (text) => this.on.copied(await copyText(text)));
    const footer = new AnswerFooter(this.on);
    return { node: articleFor(role, thinkingView.node, body.node, footer.node), question: null, thinkingView, body, footer };
  }

  /** Let the reader edit the last question. */
  editLast() {
    this.#rows.findLast(({ question, item }) => question && item?.id)?.question?.edit();
  }

  /** @param {AnswerRow} row @param {Item} item @param {boolean} isLast @param {string} words the status line */
  #renderAnswer({ node, thinkingView, body, footer }, item, isLast, words) {
    node.dataset.state = item.state;
    thinkingView.show(thinkingSummary(item), item.thinking ?? "");
    body.show({
      text: item.text, html: item.state === "streaming" ? null : item.html ?? null, blocks: item.blocks ?? [],
    });
    footer.show(item, isLast, words);
  }
}

/** Whether two items look the same. Not by what was rendered: comparing a whole conversation letter by letter takes too
 * long for every token.
 * @param {Item | undefined} a @param {Item} b */
const looksLike = (a, b) => a !== undefined && a.live === b.live && a.state === b.state && a.text === b.text
  && a.html === b.html && a.blocks === b.blocks
  && a.thinking === b.thinking && a.thinking_seconds === b.thinking_seconds
  && a.id === b.id && a.siblings?.length === b.siblings?.length;

/** @param {QuestionRow} row @param {Item} item */
function renderQuestion({ node, question }, item) {
  node.dataset.state = item.state;
  part(node, ".body").textContent = item.text;
  question.show(item);
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

/** @param {ParentNode} node @param {string} selector */
const part = (node, selector) => /** @type {HTMLElement} */ (node.querySelector(selector));
