/** A hidden tab gives up its connection after a while: over HTTP/1.1 a browser has six for the whole site. */

const HIDDEN_PAUSE = 10_000;

/** @param {import("./session-stream.js").SessionStream} stream */
export function pauseWhileHidden(stream) {
  /** @type {number | undefined} */ let timer;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => stream.pause(), HIDDEN_PAUSE);
    else if (stream.wanted && !stream.connecting) stream.reopen();
  });
  addEventListener("online", () => {
    if (stream.wanted) stream.reopen();
  });
}
