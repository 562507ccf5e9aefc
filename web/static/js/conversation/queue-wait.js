/** Most answers begin sooner than a reader could learn that there is a queue: only a longer wait is shown. */

const WAIT_SHOWN_AFTER = 800;

/** @param {import("./store.js").Store} store */
export function showLongWaits(store) {
  /** @type {number | undefined} */ let timer;
  store.subscribe(({ live }, { live: before }) => {
    if (live?.phase === before?.phase && live?.generation === before?.generation) return;
    clearTimeout(timer);
    if (live?.phase === "queued") timer = setTimeout(() => store.dispatch({ type: "waits" }), WAIT_SHOWN_AFTER);
  });
}
