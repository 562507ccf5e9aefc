// OpenAI's package for Node over /v1/responses: what it sees, as JSON.

import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const seen = {};

const whole = await client.responses.create({ model: "good", input: "Why?" });
seen.whole = { text: whole.output_text, status: whole.status };

const stream = client.responses.stream({ model: "good", input: "Why?" });
seen.streamed = (await stream.finalResponse()).output_text;

// A live answer, cut after each of its events.
const events = [];
const live = await client.responses.create({ model: "story", input: "Why?", background: true });
while (!["response.completed", "error"].includes(events.at(-1)?.type)) {
  const after = events.at(-1)?.sequence_number;
  const query = after === undefined ? { stream: true } : { stream: true, starting_after: after };
  for await (const event of await client.responses.retrieve(live.id, query)) {
    events.push(event);
    break;
  }
}
seen.cut = {
  numbers: events.map((event) => event.sequence_number),
  text: events.map((event) => (event.type === "response.output_text.delta" ? event.delta : "")).join(""),
  end: events.at(-1).type,
};

const conversation = await client.conversations.create({});
for (const input of ["One?", "Two?"]) {
  await client.responses.create({ model: "good", input, conversation: conversation.id });
}
seen.items = [];
for await (const item of client.conversations.items.list(conversation.id, { order: "asc", limit: 3 })) {
  seen.items.push(item.content[0].text);
}
const next = await client.responses.create({ model: "paused", input: "?", background: true });
seen.cancelled = (await client.responses.cancel(next.id)).status;
seen.deleted = (await client.conversations.delete(conversation.id)).deleted;

seen.errors = [];
for (const wrong of [
  () => client.conversations.retrieve(conversation.id),
  () => client.responses.create({ model: "good", input: "x", tools: [{ type: "web_search" }] }),
  () => new OpenAI({ baseURL, apiKey: "sb_no", maxRetries: 0 }).responses.retrieve(whole.id),
]) {
  await wrong().catch((error) => seen.errors.push(`${error.constructor.name} ${error.code} ${error.param}`));
}
console.log(JSON.stringify(seen));
