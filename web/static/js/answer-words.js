// @ts-check
/** What stands under an answer: who gives it, why it is not the chosen model, what went wrong. */

/**
 * @typedef {import("./conversation.js").Live} Live
 * @typedef {import("./conversation.js").Fallback} Fallback
 * @typedef {ReturnType<typeof import("./conversation.js").items>[number]} Item
 * @typedef {(model: string) => string} Label
 */

/** What can be wrong with a model, after its name; the kinds are those of core/providers. */
const WRONG = /** @type {Record<string, string>} */ ({
  unreachable: "could not be reached",
  timeout: "took too long",
  unauthorized: "refused this service’s key",
  "rate-limited": "was overloaded",
  rejected: "could not take this conversation",
  "server-error": "had an error",
  "broken-stream": "broke off",
});
/** Where the same model would only fail again. */
const ADVICE = /** @type {Record<string, string>} */ ({
  unauthorized: " Choose another model.",
  rejected: " It may be too long for it: choose another model, or begin a new conversation.",
});

/** @param {Item} item @param {Label} label */
export function underAnswer({ state, model, live, told, text }, label) {
  if (live) return coming(live, label);
  const who = model ? label(model) : "";
  const fallback = told?.fallback;
  if (state === "failed") return `${text ? "Incomplete. " : ""}${failure(told?.problem, text !== "", label)}`;
  if (state === "stopped") {
    return ["Stopped", fallback ? `${who}, ${because(fallback, label)}` : who].filter(Boolean).join(" · ");
  }
  if (!fallback) return who;
  return `${fallback.midway ? "Finished" : "Answered"} by ${who}, ${because(fallback, label)}`;
}

/** @param {Live} live @param {Label} label */
export function coming({ phase, waits, position, model, fallback }, label) {
  const who = model ? label(model) : "the model";
  if (phase === "queued" && waits) return place(position);
  if (fallback) return `${who} ${fallback.midway ? "carries on" : "is answering"}, ${because(fallback, label)}`;
  return phase === "answering" ? `${capital(who)} is answering` : `Connecting to ${who}`;
}

/** @param {number} position how many wait before this one */
function place(position) {
  if (position === 0) return "Next in line";
  return `Waiting: ${position === 1 ? "1 answer is" : `${position.toLocaleString("en")} answers are`} before yours`;
}

/** @param {Fallback} fallback @param {Label} label */
const because = ({ from, reason }, label) => `because ${wrong(label(from), reason)}`;

/** @param {string} who @param {string | undefined} reason */
const wrong = (who, reason) => `${who} ${WRONG[reason ?? ""] ?? "was not available"}`;

/** @param {any} problem @param {boolean} begun whether there are words of the answer @param {Label} label */
function failure(problem, begun, label) {
  switch (problem?.type?.split("/").pop()) {
    case undefined: return begun ? "The rest of this answer never came." : "This question was not answered.";
    case "provider-failed": {
      const who = problem.model ? label(problem.model) : "The model";
      return `${wrong(who, problem.reason)}.${ADVICE[problem.reason] ?? ""}`;
    }
    case "generation-lost": return begun ? "The answer was interrupted." : "No answer could be begun in time.";
    case "unknown-model": return "The chosen model is no longer on offer. Choose another one.";
    default: return "The server made a mistake.";
  }
}

/** @param {string} words */
const capital = (words) => words[0].toUpperCase() + words.slice(1);
