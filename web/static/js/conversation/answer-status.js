/** The words above and under an answer: how long its model thought, which model gives it and why not the chosen one, how
 * it ended, what went wrong, and what can be done about it. No DOM. */

/**
 * @typedef {import("../api/client.js").AnswerProblem} AnswerProblem
 * @typedef {import("./reducer.js").Live} Live
 * @typedef {import("./reducer.js").Fallback} Fallback
 * @typedef {import("./reducer.js").Item} Item
 * @typedef {(model: string) => string} Label
 */

const LATER = "Try again in a moment, or choose another model.";
const OTHER = "Choose another model.";
const OPERATOR = "Choose another model, and tell the operator.";

/** What can be wrong with a model, after its name, and what to do then; the kinds are those of core/llm/providers. */
const WRONG = /** @type {Record<string, [string, string]>} */ ({
  unreachable: ["could not be reached", LATER],
  timeout: ["took too long", LATER],
  misconfigured: ["is set up wrongly", OPERATOR],
  "missing-key": ["has no key set here", OPERATOR],
  unauthorized: ["refused this service’s key", OPERATOR],
  "model-not-found": ["is not known to its server by that name", OPERATOR],
  quota: ["has no quota left", OPERATOR],
  "rate-limited": ["was overloaded", LATER],
  "too-long": ["can’t take this much", "Shorten your message, or choose another model."],
  filtered: ["has a filter that refused this message", "Rephrase it."],
  rejected: ["did not accept this request", OTHER],
  empty: ["gave no answer", "Try again."],
  "server-error": ["had an error", LATER],
  "broken-stream": ["sent no answer", LATER],
});
/** What can be wrong with a model that had begun to answer, where the words are others. */
const WRONG_MIDWAY = /** @type {typeof WRONG} */ ({
  unreachable: ["could not be reached any more", LATER],
  timeout: ["fell silent", LATER],
  empty: ["did not go on", "Try again."],
  "broken-stream": ["broke off", "Try again."],
});
const WRONG_SOMEHOW = ["was not available", ""];

/** What can be too long for a model, before its name, and what to do then; the kinds are those of
 * core/generation/context_window.py. Older servers name no kind: they mean the first. */
const TOO_LONG = /** @type {Record<string, [(name: string) => string, string]>} */ ({
  message: [(name) => `Your message is too long for ${name}`, "Shorten your message, or choose another model."],
  conversation: [
    (name) => `This conversation is too long for ${name}`,
    "Shorten your message, begin a new conversation, or choose another model.",
  ],
  instructions: [(name) => `This service’s own instructions are too long for ${name}`, OPERATOR],
  answer: [
    (name) => `Your message is too long for ${name} to have room for an answer`,
    "Shorten your message, or choose another model.",
  ],
});

/** Why an answer ended before its model had said all, in the words for each of core/llm/providers' reasons. */
const ENDS = /** @type {Record<string, (name: string) => string>} */ ({
  length: () => "The answer reached its length limit.",
  content_filter: () => "The provider’s filter stopped this answer.",
  refusal: (name) => `${name} declined to answer.`,
  tool_calls: (name) => `${name} asked for a tool, which this chat does not have.`,
  other: () => "The provider ended this answer without saying why.",
});
/** Reasons that need no words, or have them by the answer's state. */
const ORDINARY = new Set([undefined, null, "stop", "stopped", "error"]);

/** @param {string} reason @param {boolean} midway whether there were words of the answer by then */
const wrong = (reason, midway) => (midway && entry(WRONG_MIDWAY, reason)) || entry(WRONG, reason) || WRONG_SOMEHOW;

/**
 * A table's entry; none for a name that all objects have, such as "constructor".
 * @template T @param {Record<string, T>} table @param {string | null | undefined} name @returns {T | undefined}
 */
function entry(table, name) {
  return name != null && Object.hasOwn(table, name) ? table[name] : undefined;
}

/** @param {Item} item @param {Label} label */
export function statusLine(item, label) {
  const { state, model, live, eventDetails } = item;
  if (live) return progressLine(live, label);
  if (state === "failed") return failed(item, label);
  const name = model ? label(model) : "";
  const fallback = eventDetails?.fallback;
  const why = fallback ? because(fallback, label) : "";
  if (state === "stopped") return ["Stopped", fallback ? `${name}, ${why}` : name].filter(Boolean).join(" · ");
  const by = fallback ? `${fallback.midway ? "Finished" : "Answered"} by ${name}, ${why}` : name;
  const end = ended(item, label);
  // An end that names the model says already whose answer it is.
  return (!fallback && end.startsWith(name) ? [end || by] : [by, end]).filter(Boolean).join(" · ");
}

/** @param {Live} live @param {Label} label */
export function progressLine({ phase, waits, position, model, fallback }, label) {
  if (phase === "queued" && waits) return place(position);
  const name = model ? label(model) : "The model";
  const does = phase === "thinking" ? "is thinking" : "is answering";
  if (fallback) return `${name} ${fallback.midway ? "carries on" : does}, ${because(fallback, label)}`;
  if (phase === "thinking" || phase === "answering") return `${name} ${does}`;
  return `Connecting to ${model ? name : "the model"}`;
}

/** For a screen reader: that an answer has come to its end, and to which. @param {Item} item @param {Label} label */
export function endAnnouncement(item, label) {
  if (item.state === "failed") return `The answer failed. ${failed(item, label)}`;
  return item.state === "stopped" ? "Answer stopped" : ended(item, label) || "Answer complete";
}

/** What can be done about an answer's end. @param {Item} item @returns {"retry" | "continue" | null} */
export function recoveryAction({ state, finish_reason: reason }) {
  if (state === "failed") return "retry";
  if (state !== "complete" || ORDINARY.has(reason)) return null;
  return reason === "length" ? "continue" : "retry";
}

/** Above what a model said to itself. @param {Item} item */
export function thinkingSummary({ live, thinking_seconds: seconds }) {
  if (live?.phase === "thinking") return "Thinking…";
  return seconds ? `Thought for ${duration(seconds)}` : "Thought";
}

/** "12 s", "1 min 15 s", "1 h 2 min". @param {number} seconds */
function duration(seconds) {
  if (seconds < 60) return `${seconds} s`;
  const [large, small, units] = seconds < 3_600
    ? [Math.floor(seconds / 60), seconds % 60, ["min", "s"]]
    : [Math.floor(seconds / 3_600), Math.floor((seconds % 3_600) / 60), ["h", "min"]];
  return small ? `${large} ${units[0]} ${small} ${units[1]}` : `${large} ${units[0]}`;
}

/** @param {number} position how many wait before this one */
function place(position) {
  if (position === 0) return "Next in line";
  return `Waiting: ${position === 1 ? "1 answer is" : `${position.toLocaleString("en")} answers are`} before yours`;
}

/** @param {Fallback} fallback @param {Label} label */
const because = ({ from, reason, midway }, label) => `because ${label(from)} ${wrong(reason, midway)[0]}`;

/** Nothing, of an answer whose model has said all. @param {Item} item @param {Label} label */
function ended({ finish_reason: reason, model }, label) {
  if (ORDINARY.has(reason)) return "";
  return (entry(ENDS, reason) ?? ENDS.other)(model ? label(model) : "The model");
}

/** @param {Item} item @param {Label} label */
function failed(item, label) {
  const problem = item.problem ?? item.eventDetails?.problem;
  return `${item.text ? "Incomplete. " : ""}${failure(problem, item, label)}`;
}

/** @param {AnswerProblem | null | undefined} problem @param {Item} item @param {Label} label */
function failure(problem, item, label) {
  if (problem?.type === undefined) return item.text ? "The rest of this answer never came." : "This question was not answered.";
  switch (problem.type.split("/").pop()) {
    case "provider-failed": return providerFailed(problem, item, problem.model ? label(problem.model) : "The model");
    case "generation-lost": return item.text ? "The answer was interrupted." : "No answer could be begun in time.";
    case "unknown-model": return "The chosen model is no longer on offer. Choose another one.";
    default: return "The server made a mistake.";
  }
}

/** @param {AnswerProblem} problem @param {Item} item @param {string} name */
function providerFailed({ reason = "", subject, tokens, limit }, { finish_reason: end, text }, name) {
  const [what, advice] = wrong(reason, Boolean(text));
  if (reason === "too-long" && tokens && limit) return tooLong(subject, tokens, limit, name);
  if (reason === "empty" && end === "length") return `${name} reached its length limit before its first word. ${advice}`;
  const ending = reason === "empty" && entry(ENDS, end);
  if (ending) return ending(name);
  return `${name} ${what}.${advice && ` ${advice}`}`;
}

/** With the figures only when they show it: often it is the answer's room that is missing, of an unknown size.
 * @param {string | undefined} subject @param {number} tokens @param {number} limit @param {string} name */
function tooLong(subject, tokens, limit, name) {
  const [what, advice] = entry(TOO_LONG, subject) ?? TOO_LONG.message;
  const figures = tokens > limit ? `: ${count(tokens)} tokens, of ${count(limit)} at the most` : "";
  return `${what(name)}${figures}. ${advice}`;
}

/** @param {number} tokens */
const count = (tokens) => tokens.toLocaleString("en");
