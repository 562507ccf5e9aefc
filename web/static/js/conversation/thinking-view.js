/** A model's thinking, folded above its answer. Whether it is open is the reader's choice, and stays so. */

import { isCut } from "./thinking.js";
import { t } from "../ui/strings.js";

/** Characters of a block, from which on its next line begins another: a browser lays out a block anew when it grows. */
const BLOCK = 2_000;
/** Characters from which on a block ends in the middle of a line: no sensible line is this long. */
const MAX_BLOCK = 10_000;

export class ThinkingView {
  #shown = "";

  /** @param {() => void} toggling the reader opens or closes it */
  constructor(toggling) {
    this.node = document.createElement("details");
    this.node.className = "thinking";
    this.node.hidden = true;
    this.node.ariaLive = "off"; // only a reader who opens it wants to hear it
    this.summary = document.createElement("summary");
    this.summary.addEventListener("click", toggling);
    this.body = document.createElement("div");
    this.rest = document.createElement("p");
    this.rest.className = "cut";
    this.rest.textContent = t("thinking.cut");
    this.rest.hidden = true;
    this.node.append(this.summary, this.body, this.rest);
  }

  /** @param {string} summary @param {string} text */
  show(summary, text) {
    this.node.hidden = !text;
    if (this.summary.textContent !== summary) this.summary.textContent = summary;
    if (text === this.#shown) return;
    this.rest.hidden = !isCut(text);
    if (!text.startsWith(this.#shown)) {
      this.body.replaceChildren();
      this.#shown = "";
    }
    this.#append(text.slice(this.#shown.length));
    this.#shown = text;
  }

  /** In blocks that end with a line, which look like one block. @param {string} text */
  #append(text) {
    for (const line of text.split(/(?<=\n)/)) {
      if (isFull(this.body.lastElementChild)) this.body.append(document.createElement("div"));
      this.body.lastElementChild?.append(line);
    }
  }
}

/** @param {Element | null} block */
function isFull(block) {
  const text = block?.textContent;
  return text == null || text.length > MAX_BLOCK || (text.length > BLOCK && text.endsWith("\n"));
}
