/** Text as it stands, which grows at its end: what is there is not drawn again. */

/** Characters of a block, from which on its next line begins another: a browser lays out a block anew when it grows. */
const BLOCK = 2_000;
/** Characters from which on a block ends in the middle of a line: no sensible line is this long. */
const MAX_BLOCK = 10_000;

export class GrowingText {
  node = document.createElement("div");
  /** What it shows. */
  text = "";

  /** @param {string} text */
  show(text) {
    if (text === this.text) return;
    if (!text.startsWith(this.text)) {
      this.node.replaceChildren();
      this.text = "";
    }
    this.#append(text.slice(this.text.length));
    this.text = text;
  }

  /** In blocks that end with a line, which look like one block. @param {string} text */
  #append(text) {
    for (const line of text.split(/(?<=\n)/)) {
      if (isFull(this.node.lastElementChild)) this.node.append(document.createElement("div"));
      this.node.lastElementChild?.append(line);
    }
  }
}

/** @param {Element | null} block */
function isFull(block) {
  const text = block?.textContent;
  return text == null || text.length > MAX_BLOCK || (text.length > BLOCK && text.endsWith("\n"));
}
