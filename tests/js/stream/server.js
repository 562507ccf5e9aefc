/** A server of events in the place of `fetch`: each connection is open until the test, or the page, ends it. */

/** @typedef {{url: string, headers: Record<string, string>, send: (text: string) => void, end: () => void}} Connection */

/**
 * @param {import("node:test").TestContext} context
 * @param {{refuses?: boolean}} [server] `refuses`: answers 503, for as long as it is set
 * @returns {Connection[]} those that were opened, in order
 */
export function serveEvents({ mock }, server = {}) {
  /** @type {Connection[]} */ const connections = [];
  mock.method(globalThis, "fetch", async (/** @type {string} */ url, /** @type {any} */ { headers, signal }) => {
    /** @type {ReadableStreamDefaultController<Uint8Array>} */ let sink;
    const body = new ReadableStream({ start(controller) { sink = controller; } });
    signal.addEventListener("abort", () => sink.error(signal.reason));
    connections.push({
      url,
      headers,
      send: (text) => sink.enqueue(new TextEncoder().encode(text)),
      end: () => sink.close(),
    });
    return server.refuses ? new Response("", { status: 503 }) : new Response(body);
  });
  return connections;
}

/** An event as it is sent. @param {string} id @param {string} type @param {object} [data] */
export const frame = (id, type, data = {}) => `event: ${type}\n${id && `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`;

/** Let everything that is due happen: streams take several turns of the event loop. */
export async function settled() {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}
