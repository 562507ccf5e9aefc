/** A model's thinking, folded above its answer. Whether it is open is the reader's choice, and stays so. */

import { GrowingText } from "./growing-text.js";
import { isCut } from "./thinking.js";
import { t } from "../ui/strings.js";

export class ThinkingView {
  #text = new GrowingText();

  /** @param {() => void} toggling the reader opens or closes it */
  constructor(toggling) {
    this.node = document.createElement("details");
    this.node.className = "thinking";
    this.node.hidden = true;
    this.node.ariaLive = "off"; // only a reader who opens it wants to hear it
    this.summary = document.createElement("summary");
    this.summary.addEventListener("click", toggling);
    this.rest = document.createElement("p");
    this.rest.className = "cut";
    this.rest.textContent = t("thinking.cut");
    this.rest.hidden = true;
    this.node.append(this.summary, this.#text.node, this.rest);
  }

  /** @param {string} summary @param {string} text */
  show(summary, text) {
    this.node.hidden = !text;
    if (this.summary.textContent !== summary) this.summary.textContent = summary;
    if (text === this.#text.text) return;
    this.rest.hidden = !isCut(text);
    this.#text.show(text);
  }
}
