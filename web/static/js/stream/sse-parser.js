/** Reads `text/event-stream` from a response's body (WHATWG HTML, 9.2.6), for requests that need headers. */

/** @typedef {{type: string, id: string, data: string}} Frame an event as it was sent */

/**
 * @param {ReadableStream<any>} body
 * @param {() => void} [received] whenever anything comes, be it a comment
 * @returns {AsyncGenerator<Frame>} `id` is empty for an event that came without one
 */
export async function* readEvents(body, received = () => {}) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = { type: "message", id: "", data: /** @type {string[]} */ ([]) };
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return; // an event without its empty line is incomplete
    received();
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const [name, text] = field(line.replace(/\r$/, ""));
      if (name === "event") event.type = text;
      else if (name === "id") event.id = text;
      else if (name === "data") event.data.push(text);
      else if (name === "end") {
        if (event.data.length > 0) yield { ...event, data: event.data.join("\n") };
        event = { type: "message", id: "", data: [] };
      }
    }
  }
}

/** @param {string} line */
function field(line) {
  if (line === "") return ["end", ""];
  const colon = line.indexOf(":");
  if (colon === 0) return ["comment", ""];
  if (colon < 0) return [line, ""];
  return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
}
