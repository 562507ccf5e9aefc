/** The icons, whose shapes are in the page's markup. */

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} name */
export function icon(name) {
  const picture = document.createElementNS(SVG, "svg");
  picture.classList.add("icon");
  picture.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  picture.append(use);
  return picture;
}
