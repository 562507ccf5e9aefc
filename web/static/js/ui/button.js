/** Buttons that are made where they are needed. */

import { icon } from "./icon.js";

/** In a line of words. @param {string} text @param {string} label @param {() => void} press */
export function textButton(text, label, press) {
  const made = buttonOf("link", label, press);
  made.textContent = text;
  return made;
}

/** @param {string} name of the icon @param {string} label @param {() => void} press */
export function iconButton(name, label, press) {
  const made = buttonOf("icon-button", label, press);
  made.title = label;
  made.append(icon(name));
  return made;
}

/** @param {string} kind @param {string} label @param {() => void} press */
function buttonOf(kind, label, press) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = kind;
  made.ariaLabel = label;
  made.addEventListener("click", press);
  return made;
}
