// OpenAI's package for Node over /v1/chat/completions: what it sees, as JSON.

import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "Why?" }];
const seen = {};

const whole = await client.chat.completions.create({ model: "good", messages });
seen.whole = { text: whole.choices[0].message.content, reason: whole.choices[0].finish_reason };

const stream = client.chat.completions.stream({ model: "good", messages, stream_options: { include_usage: true } });
seen.streamed = await stream.finalContent();
seen.usage = (await stream.totalUsage()).total_tokens > 0;

seen.models = [];
for await (const model of client.models.list()) seen.models.push(model.id);

seen.errors = [];
for (const wrong of [
  () => client.chat.completions.create({ model: "nothing", messages }),
  () => client.chat.completions.create({ model: "good", messages, n: 2 }),
  () => client.chat.completions.create({ model: "away", messages }),
  () => client.models.retrieve("nothing"),
  () => new OpenAI({ baseURL, apiKey: "sb_no", maxRetries: 0 }).models.list(),
  async () => {
    for await (const _ of await client.chat.completions.create({ model: "error-in-stream", messages, stream: true }));
  },
]) {
  await wrong().catch((error) => seen.errors.push(`${error.constructor.name} ${error.code}`));
}
console.log(JSON.stringify(seen));
