/** The words of an answer: what is finished of it as HTML, and the rest as it stands. Nodes whose HTML stays the same stay
 * in place, and with them the reader's place, selection and choices; and so does text in which something is selected. */

import { addCodeBar } from "./code-block.js";
import { indexAfter } from "./code-points.js";
import { GrowingText } from "./growing-text.js";
import { makeScrollable } from "./scrollable.js";
import { t } from "../ui/strings.js";

/**
 * @typedef {import("./reducer.js").Block} Block
 * @typedef {{text: string, html: string | null, blocks: readonly Block[]}} Words `html`: of the whole text, once there is
 *   any; until then `blocks` are parts of it
 * @typedef {{block: Block, end: number, nodes: Node[]}} Part a block with the text before it; `end` is in UTF-16 units
 */

/** How many nodes further on one that stays may be: there is text between blocks, and seldom much. */
const REACH = 8;

export class AnswerBody {
  node = document.createElement("div");
  /** What has come since the last block. */
  #tail = plain();
  /** @type {Part[]} */ #parts = [];
  /** @type {string | null} */ #html = null;
  /** Where in the text the tail begins. */
  #end = 0;
  /** @type {Words} */ #words = { text: "", html: null, blocks: [] };
  /** By node, the HTML that it was made of. @type {WeakMap<Node, string>} */ #sources = new WeakMap();
  #waits = false;

  /** @param {(text: string) => void} copy what the reader wants of a block of code */
  constructor(copy) {
    this.copy = copy;
    this.node.className = "body";
    this.node.append(this.#tail.node);
  }

  /** @param {Words} words */
  show(words) {
    const { text } = words;
    const goesOn = text.startsWith(this.#words.text);
    this.#words = words;
    this.node.hidden = !text;
    if (goesOn && this.#isSelected()) this.#wait();
    else if (words.html) this.#showWhole(words.html, text);
    else if (goesOn && this.#html !== null && words.blocks.length === 0) this.#goOn();
    else this.#showParts(words);
    this.#tail.show(withoutBlankLines(text.slice(this.#end)));
  }

  /** @param {string} html @param {string} text */
  #showWhole(html, text) {
    this.#end = text.length;
    if (html === this.#html) return;
    this.#html = html;
    this.#parts = [];
    this.#place(this.#nodesOf(html));
  }

  /** There is more of an answer that was whole: until its blocks are told again, it stays as it is. */
  #goOn() {
    if (!this.#tail.node.parentNode) this.node.append(this.#tail.node);
  }

  /** @param {Words} words */
  #showParts({ text, blocks }) {
    const known = this.#parts.findIndex(({ block }, number) => block !== blocks[number]);
    if (this.#html === null && known === -1 && this.#parts.length === blocks.length) return;
    this.#html = null;
    const parts = known === -1 ? this.#parts : this.#parts.slice(0, known);
    let [upto, end] = [parts.at(-1)?.block.upto ?? 0, parts.at(-1)?.end ?? 0];
    for (const block of blocks.slice(parts.length)) {
      const begin = indexAfter(text, block.from - upto, end);
      const between = withoutBlankLines(text.slice(end, begin)).trimEnd();
      [upto, end] = [block.upto, indexAfter(text, block.upto - block.from, begin)];
      parts.push({ block, end, nodes: [...(between ? [plain(between).node] : []), ...this.#nodesOf(block.html)] });
    }
    this.#parts = parts;
    this.#end = end;
    this.#place([...parts.flatMap(({ nodes }) => nodes), this.#tail.node]);
  }

  /** Make these the body's nodes, but keep each that is there already. @param {Node[]} nodes */
  #place(nodes) {
    let next = this.node.firstChild;
    for (const node of nodes) {
      const kept = this.#find(node, next);
      if (!kept) {
        this.node.insertBefore(node, next);
        continue;
      }
      while (next !== kept) next = removed(next);
      next = kept.nextSibling;
    }
    while (next) next = removed(next);
  }

  /** What is as `node` among those that follow. @param {Node} node @param {ChildNode | null} next */
  #find(node, next) {
    const source = this.#sources.get(node);
    for (let steps = 0; next && steps < REACH; steps++, next = next.nextSibling) {
      if (next === node || (source !== undefined && source === this.#sources.get(next))) return next;
    }
    return null;
  }

  /** The server made it from Markdown and sanitised it. @param {string} html */
  #nodesOf(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    const sources = [...template.content.children].map((each) => each.outerHTML);
    for (const pre of template.content.querySelectorAll("pre")) addCodeBar(pre, this.copy);
    for (const table of template.content.querySelectorAll("table")) wrapTable(table);
    for (const formula of template.content.querySelectorAll("p.math")) {
      makeScrollable(formula, t("formula.label"));
    }
    const nodes = [...template.content.children];
    for (const [number, node] of nodes.entries()) this.#sources.set(node, sources[number]);
    // For the side of a list's marks, a table's columns, a quotation's line; of a list within a list by its own words.
    for (const node of [...nodes, ...template.content.querySelectorAll("li :is(ul, ol)")]) {
      /** @type {HTMLElement} */ (node).dir = "auto";
    }
    return nodes;
  }

  /** Whether the reader has selected some of the text that would become something else. */
  #isSelected() {
    const selection = getSelection();
    if (!selection || selection.isCollapsed) return false;
    return [...this.node.children].some((each) => each.classList.contains("plain") && selection.containsNode(each, true));
  }

  /** For the reader to have done with what is selected. */
  #wait() {
    if (this.#waits) return;
    this.#waits = true;
    document.addEventListener("selectionchange", () => {
      this.#waits = false;
      this.show(this.#words);
    }, { once: true });
  }
}

/** @param {string} [text] */
function plain(text = "") {
  const made = new GrowingText();
  made.node.className = "plain";
  made.show(text);
  return made;
}

/** @param {string} text */
const withoutBlankLines = (text) => text.replace(/^(?:[^\S\n]*\n)+/, "");

/** @param {ChildNode | null} node */
function removed(node) {
  const next = node?.nextSibling ?? null;
  node?.remove();
  return next;
}

/** A table that scrolls itself would be none to a screen reader. @param {HTMLTableElement} table */
function wrapTable(table) {
  const frame = document.createElement("div");
  frame.className = "table";
  table.replaceWith(frame);
  frame.append(table);
  makeScrollable(frame, t("table.label"));
}
