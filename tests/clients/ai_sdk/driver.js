// Drives real chats of the AI SDK without a browser. It reads commands from stdin, a JSON object a line, carries them
// out at the same time, and answers each with a line that has its number.

import { createInterface } from "node:readline";
import { WorkflowChatTransport } from "@ai-sdk/workflow/client";
import * as ai5 from "ai5";
import * as ai6 from "ai6";
import * as ai7 from "ai7";

/** The packages, by the client's name. The workflow's transport belongs to the newest one. */
const packages = { ai5, ai6, ai7, workflow: ai7 };

/** What `useChat` keeps in React's state. */
class State {
  constructor(messages) {
    this.messages = messages;
    this.status = "ready";
    this.error = undefined;
  }

  pushMessage = (message) => {
    this.messages = [...this.messages, message];
  };

  popMessage = () => {
    this.messages = this.messages.slice(0, -1);
  };

  replaceMessage = (index, message) => {
    this.messages = this.messages.with(index, this.snapshot(message));
  };

  snapshot = (value) => structuredClone(value);
}

const chats = new Map();

/** A response that breaks as in Chrome, by whose words clients tell what has happened. */
function asInChrome(response) {
  if (!response.body) return response;
  const reader = response.body.getReader();
  const body = new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        controller.error(error.name === "AbortError" ? error : new TypeError("network error"));
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return new Response(body, response);
}

function open({ chat, client, api, id, headers, messages }) {
  const { AbstractChat, DefaultChatTransport } = packages[client];
  const data = [];
  class Chat extends AbstractChat {}
  // As cookies would be: the workflow's transport has no option for headers, and so sends its JSON as text/plain.
  const statuses = [];
  const proved = async (url, init) => {
    const response = await fetch(url, { ...init, headers: { ...init.headers, ...headers } });
    statuses.push(response.status);
    return asInChrome(response);
  };
  const transport =
    client === "workflow"
      ? new WorkflowChatTransport({
          api,
          fetch: proved,
          prepareSendMessagesRequest: ({ messages, trigger, messageId, body }) => ({
            body: { id, messages, trigger, messageId, ...body },
          }),
        })
      : new DefaultChatTransport({ api, fetch: proved });
  const state = new State(messages);
  const made = new Chat({ id, transport, state, onData: (part) => data.push(part), onError: () => {} });
  chats.set(chat, { chat: made, state, data, statuses });
}

const commands = {
  open,
  send: ({ chat, ...message }) => chats.get(chat).chat.sendMessage(message),
  resume: ({ chat }) => chats.get(chat).chat.resumeStream(),
  regenerate: ({ chat, ...options }) => chats.get(chat).chat.regenerate(options),
  stop: ({ chat }) => chats.get(chat).chat.stop(),
  state: ({ chat }) => {
    const { state, data, statuses } = chats.get(chat);
    return { status: state.status, error: state.error?.message ?? null, messages: state.messages, data, statuses };
  },
};

console.error = () => {}; // the workflow's transport tells of each broken connection
console.warn = () => {};
const answer = (number, fields) => process.stdout.write(`${JSON.stringify({ number, ...fields })}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  const { number, command, ...options } = JSON.parse(line);
  Promise.resolve()
    .then(() => commands[command](options))
    .then(
      (result) => answer(number, { result: result ?? null }),
      (error) => answer(number, { error: String(error) }),
    );
}
