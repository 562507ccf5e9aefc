/** What may be wider than the page and then scrolls in itself: in reach of the keyboard, and named. */

const widths = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    // One that has nothing to scroll would only be in the way from one button to the next.
    if (target.scrollWidth > target.clientWidth) target.setAttribute("tabindex", "0");
    else target.removeAttribute("tabindex");
  }
});

/** @param {Element} node @param {string} label */
export function makeScrollable(node, label) {
  node.role = "group";
  node.ariaLabel = label;
  widths.observe(node);
}
