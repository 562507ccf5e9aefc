// Two EventSource clients over GET /chat/sse: the ids and the text of what they see, as JSON.

import { EventSource } from "eventsource";
import { createEventSource } from "eventsource-client";

const [url, proof] = process.argv.slice(2);
const headers = { "X-Session-ID": proof };
const names = ["queued", "started", "delta", "done"];

const standard = new Promise((resolve) => {
  const seen = [];
  const source = new EventSource(url, {
    fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...headers } }),
  });
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
const iterated = (async () => {
  const seen = [];
  const source = createEventSource({ url, headers });
  for await (const { id, event, data } of source) {
    seen.push([id, event, JSON.parse(data).text ?? ""]);
    if (event === "done") {
      source.close();
      return seen;
    }
  }
})();
console.log("listening");
console.log(JSON.stringify(await Promise.all([standard, iterated])));
