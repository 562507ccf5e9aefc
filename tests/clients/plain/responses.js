// OpenAI's package for Node over /v1/responses: what it sees, as JSON. The last argument says which version of it.

const [baseURL, apiKey, version] = process.argv.slice(2);
const { default: OpenAI } = await import(version);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const seen = {};

const whole = await client.responses.create({ model: "good", input: "Why?" });
seen.whole = { text: whole.output_text, status: whole.status };

// Of an answer that thinks, and of one that another model carries on.
seen.streamed = [];
for (const model of ["good", "thinks", "falls-back-midway"]) {
  const stream = client.responses.stream({ model, input: "Why?" });
  seen.streamed.push((await stream.finalResponse()).output_text);
}
const again = client.responses.stream({ response_id: whole.id, starting_after: 4 });
seen.first = (await again[Symbol.asyncIterator]().next()).value.sequence_number;
seen.again = (await again.finalResponse()).output_text;

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
