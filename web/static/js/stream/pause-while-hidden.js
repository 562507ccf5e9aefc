/** A hidden tab gives up its connection after a while: over HTTP/1.1 a browser has six for the whole site. */

const HIDDEN_PAUSE = 10_000;

/** @param {import("./session-stream.js").SessionStream} stream
 * @param {() => Promise<void>} idle when no answer is being written: its end is worth telling, and more so out of sight */
export function pauseWhileHidden(stream, idle) {
  /** @type {number | undefined} */ let timer;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => void pause(), HIDDEN_PAUSE);
    else if (stream.wanted && !stream.connecting) stream.reopen();
  });
  async function pause() {
    await idle();
    if (document.hidden) stream.pause();
  }
  addEventListener("online", () => {
    if (stream.wanted) stream.reopen();
  });
}
