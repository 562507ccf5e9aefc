/** The pattern of resumable-stream's README over `ai`'s streamText: POST begins a stream, GET resumes it. */

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { Readable } from "node:stream";
import { pathToFileURL } from "node:url";

const [environment, port, redisSocket, providerUrl] = process.argv.slice(2);
const { resolve } = createRequire(`${environment}/package.json`);
const load = (name) => import(pathToFileURL(resolve(name)));
const { streamText } = await load("ai");
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
const { createResumableStreamContext } = await load("resumable-stream");
const { createClient } = await load("redis");

const provider = createOpenAICompatible({ name: "bench", baseURL: providerUrl, apiKey: "none" });
const connect = () => createClient({ socket: { path: redisSocket } });
const publisher = connect();
const subscriber = connect();
await Promise.all([publisher.connect(), subscriber.connect()]);
const streams = createResumableStreamContext({ waitUntil: null, publisher, subscriber });

async function open(request, streamId, resumeAt) {
  if (request.method !== "POST") return streams.resumeExistingStream(streamId, Number(resumeAt ?? 0));
  const { model } = JSON.parse(await new Response(Readable.toWeb(request)).text());
  const answer = () => streamText({ model: provider.chatModel(model), prompt: "Count." }).textStream;
  return streams.createNewResumableStream(streamId, answer);
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (url.pathname === "/") return response.end("ready");
  try {
    const stream = await open(request, url.pathname.slice(1), url.searchParams.get("resumeAt"));
    if (!stream) return response.writeHead(422).end("Stream is already done");
    response.writeHead(200, { "Content-Type": "text/event-stream" }).flushHeaders();
    Readable.fromWeb(stream).pipe(response);
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
});
server.listen(Number(port), "127.0.0.1");
// As Node's documentation has it: no new connections, and an end after those that are open.
process.on("SIGTERM", () => server.close(() => process.exit(0)));
