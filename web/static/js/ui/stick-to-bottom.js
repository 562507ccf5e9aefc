/** Keeps the end of the conversation in view while the reader is there; a reader further up is left alone. */

/** Pixels from the end within which a reader who comes down is at it. */
const NEAR = 32;

export class StickToBottom {
  #sticking = true;
  #top = 0;
  /** Of what scrolls, when it was last drawn. */
  #height = 0;

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
    requestAnimationFrame(() => {
      this.#sticking = this.#below() < NEAR;
      this.#draw();
    });
  }

  /** Let a change above what is being read not move it. @param {() => void} change */
  keepPlace(change) {
    const below = this.scroller.scrollHeight - this.scroller.scrollTop;
    this.#sticking = false;
    change();
    this.scroller.scrollTop = this.scroller.scrollHeight - below;
    this.#draw();
  }

  #measure() {
    const { scrollHeight, scrollTop } = this.scroller;
    const below = this.#below();
    // Any move upwards means "let me read", however small; it takes coming near the end to stick again. The end may come
    // near by itself, when text becomes shorter.
    if (scrollTop < this.#top && below > 2) this.#sticking = false;
    else if (scrollTop > this.#top && below < NEAR && scrollHeight === this.#height) this.#sticking = true;
    this.#draw();
  }

  #below() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  #keep() {
    if (this.#sticking) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#draw();
  }

  #draw() {
    this.#top = this.scroller.scrollTop;
    this.#height = this.scroller.scrollHeight;
    this.button.hidden = this.#sticking;
  }
}
