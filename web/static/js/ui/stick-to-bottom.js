/** Keeps the end of the conversation in view while the reader is there; a reader further up is left alone. */

/** Pixels from the end within which a reader who comes down is at it. */
const NEAR = 32;

const UP = new Set(["ArrowUp", "PageUp", "Home"]);
const DOWN = new Set(["ArrowDown", "PageDown", "End", " "]);

export class StickToBottom {
  #sticking = true;
  /** Whether the reader moved downwards last. The browser moves too, to keep a place while what is above it changes. */
  #downwards = false;
  #empty = false;
  #touch = 0;
  #top = 0;
  /** Of what scrolls, when it was last drawn. */
  #height = 0;

  /** @param {HTMLElement} scroller @param {HTMLElement} content @param {HTMLButtonElement} button */
  constructor(scroller, content, button) {
    this.scroller = scroller;
    this.content = content;
    this.button = button;
    scroller.addEventListener("scroll", () => this.#measure(), { passive: true });
    scroller.addEventListener("wheel", ({ deltaY }) => this.#moves(deltaY), { passive: true });
    scroller.addEventListener("touchstart", ({ touches }) => { this.#touch = touches[0].clientY; }, { passive: true });
    scroller.addEventListener("touchmove", ({ touches }) => {
      this.#moves(this.#touch - touches[0].clientY);
      this.#touch = touches[0].clientY;
    }, { passive: true });
    scroller.addEventListener("keydown", ({ key, shiftKey }) => {
      if (UP.has(key) || DOWN.has(key)) this.#moves(UP.has(key) || shiftKey ? -1 : 1);
    });
    scroller.addEventListener("pointerdown", ({ target, offsetX }) => {
      if (target === scroller && offsetX >= scroller.clientWidth) this.#moves(1); // on the scroll bar
    });
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

  /** @param {number} by upwards if negative */
  #moves(by) {
    if (by !== 0) this.#downwards = by > 0;
  }

  #measure() {
    const { scrollHeight, scrollTop } = this.scroller;
    const below = this.#below();
    // Any move upwards means "let me read", however small; it takes coming near the end to stick again. The end may come
    // near by itself, when text becomes shorter.
    const steady = scrollHeight === this.#height;
    if (scrollTop < this.#top && below > 2) this.#sticking = false;
    else if (this.#downwards && steady && scrollTop > this.#top && below < NEAR) this.#sticking = true;
    this.#draw();
  }

  #below() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  #keep() {
    const empty = this.content.offsetHeight === 0;
    if (empty && !this.#empty) { // another conversation begins
      this.#sticking = true;
      this.scroller.scrollTop = 0;
    }
    this.#empty = empty;
    if (this.#sticking && !empty) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#draw();
  }

  #draw() {
    this.#top = this.scroller.scrollTop;
    this.#height = this.scroller.scrollHeight;
    this.button.hidden = this.#sticking;
  }
}
