/** What stands around a block of code: its language, and buttons to wrap its lines and to copy it. */

import { makeScrollable } from "./scrollable.js";
import { textButton } from "../ui/button.js";
import { t } from "../ui/strings.js";

/** Put a bar above a block. @param {HTMLPreElement} pre @param {(text: string) => void} copy */
export function addCodeBar(pre, copy) {
  const language = pre.firstElementChild?.className.match(/(?<=^language-)\S+/)?.[0];
  const block = document.createElement("div");
  block.className = "code";
  pre.replaceWith(block);
  const bar = document.createElement("div");
  bar.className = "code-bar";
  const name = document.createElement("span");
  name.textContent = language ?? t("code.name");
  const wrap = textButton(t("code.wrap"), t("code.wrapLabel"), () => {
    wrap.ariaPressed = String(pre.classList.toggle("wrapped"));
  });
  wrap.ariaPressed = "false";
  bar.append(name, wrap, textButton(t("message.copy"), t("code.copyLabel"), () => copy(pre.textContent ?? "")));
  makeScrollable(pre, language ? t("code.label", { language }) : t("code.name"));
  block.append(bar, pre);
}
