// Two EventSource clients over GET /chat/sse: "listening" when both are connected, and at the end the ids and the text of
// what they have seen, as JSON.

import { EventSource } from "eventsource";
import { createEventSource } from "eventsource-client";

const [url, proof] = process.argv.slice(2);
const headers = { "X-Session-ID": proof };
const names = ["queued", "started", "delta", "done"];

const source = new EventSource(url, {
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...headers } }),
});
const open = new Promise((resolve) => source.addEventListener("open", resolve));
const standard = new Promise((resolve) => {
  const seen = [];
  for (const name of names) {
    source.addEventListener(name, (event) => {
      seen.push([event.lastEventId, name, JSON.parse(event.data).text ?? ""]);
      if (name === "done") {
        source.close();
        resolve(seen);
      }
    });
  }
});

let onConnect;
const connected = new Promise((resolve) => (onConnect = resolve));
const iterated = (async () => {
  const seen = [];
  const events = createEventSource({ url, headers, onConnect });
  for await (const { id, event, data } of events) {
    seen.push([id, event, JSON.parse(data).text ?? ""]);
    if (event === "done") {
      events.close();
      return seen;
    }
  }
})();

await Promise.all([open, connected]);
console.log("listening");
console.log(JSON.stringify(await Promise.all([standard, iterated])));
