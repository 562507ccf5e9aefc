/** Keeps the end of the conversation in view while the reader is there; a reader further up is left alone. */

export class StickToBottom {
  #sticking = true;
  #top = 0;

  /** @param {HTMLElement} scroller @param {HTMLElement} content @param {HTMLButtonElement} button */
  constructor(scroller, content, button) {
    this.scroller = scroller;
    this.button = button;
    scroller.addEventListener("scroll", () => this.#measure(), { passive: true });
    button.addEventListener("click", () => {
      this.toEnd();
      scroller.focus({ preventScroll: true });
    });
    const observer = new ResizeObserver(() => this.#keep());
    observer.observe(content);
    observer.observe(scroller);
  }

  toEnd() {
    this.#sticking = true;
    this.#keep();
  }

  /** The reader opens or closes something, and wants to see it where it is. */
  stay() {
    this.#sticking = false;
    requestAnimationFrame(() => this.#measure());
  }

  /** Let a change above what is being read not move it. @param {() => void} change */
  keepPlace(change) {
    const below = this.scroller.scrollHeight - this.scroller.scrollTop;
    this.#sticking = false;
    change();
    this.#top = this.scroller.scrollTop = this.scroller.scrollHeight - below;
    this.#draw();
  }

  #measure() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    const below = scrollHeight - scrollTop - clientHeight;
    // Any move upwards means "let me read", however small; it takes coming near the end to stick again.
    if (scrollTop < this.#top && below > 2) this.#sticking = false;
    else if (below < 32) this.#sticking = true;
    this.#top = scrollTop;
    this.#draw();
  }

  #keep() {
    if (this.#sticking) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#draw();
  }

  #draw() {
    this.button.hidden = this.#sticking;
  }
}
