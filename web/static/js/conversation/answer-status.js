/** The words above and under an answer: how long its model thought, which model gives it and why not the chosen one, how
 * it ended, what went wrong, and what can be done about it. No DOM. */

import { limitMessage } from "../api/error-messages.js";
import { t } from "../ui/strings.js";

/**
 * @typedef {import("../api/client.js").AnswerProblem} AnswerProblem
 * @typedef {import("./reducer.js").Live} Live
 * @typedef {import("./reducer.js").Fallback} Fallback
 * @typedef {import("./reducer.js").Item} Item
 * @typedef {(model: string) => string} Label
 */

const LATER = t("advice.later");
const OTHER = t("advice.other");
const OPERATOR = t("advice.operator");
const AGAIN = t("advice.again");
const SHORTEN = t("advice.shorten");

/** What can be wrong with a model, after its name, and what to do then; the kinds are those of core/llm/providers. */
const WRONG = /** @type {Record<string, [string, string]>} */ ({
  unreachable: [t("wrong.unreachable"), LATER],
  timeout: [t("wrong.timeout"), LATER],
  misconfigured: [t("wrong.misconfigured"), OPERATOR],
  "missing-key": [t("wrong.missingKey"), OPERATOR],
  unauthorized: [t("wrong.unauthorized"), OPERATOR],
  "model-not-found": [t("wrong.notFound"), OPERATOR],
  quota: [t("wrong.quota"), OPERATOR],
  "rate-limited": [t("wrong.overloaded"), LATER],
  "too-long": [t("wrong.tooLong"), SHORTEN],
  filtered: [t("wrong.filtered"), t("advice.rephrase")],
  rejected: [t("wrong.rejected"), OTHER],
  empty: [t("wrong.empty"), AGAIN],
  "server-error": [t("wrong.serverError"), LATER],
  "broken-stream": [t("wrong.brokenStream"), LATER],
});
/** What can be wrong with a model that had begun to answer, where the words are others. */
const WRONG_MIDWAY = /** @type {typeof WRONG} */ ({
  unreachable: [t("wrong.unreachableMidway"), LATER],
  timeout: [t("wrong.timeoutMidway"), LATER],
  empty: [t("wrong.emptyMidway"), AGAIN],
  "broken-stream": [t("wrong.brokenStreamMidway"), AGAIN],
});
const WRONG_SOMEHOW = [t("wrong.somehow"), ""];

/** What can be too long for a model, before its name, and what to do then; the kinds are those of
 * core/generation/context_window.py. Older servers name no kind: they mean the first. */
const TOO_LONG = /** @type {Record<string, [import("../ui/strings.js").Key, string]>} */ ({
  message: ["tooLong.message", SHORTEN],
  conversation: ["tooLong.conversation", t("advice.shortenOrNew")],
  instructions: ["tooLong.instructions", OPERATOR],
  answer: ["tooLong.answer", SHORTEN],
});

/** Why an answer ended before its model had said all, in the words for each of core/llm/providers' reasons. */
const ENDS = /** @type {Record<string, import("../ui/strings.js").Key>} */ ({
  length: "end.length",
  content_filter: "end.filter",
  refusal: "end.refusal",
  tool_calls: "end.tool",
  other: "end.other",
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
  const { state, model, live } = item;
  if (live) return progressLine(live, label);
  if (state === "failed") return failed(item, label);
  const name = model ? label(model) : "";
  const fallback = fallbackOf(item);
  const why = fallback ? because(fallback, label) : "";
  const writers = handedOver(item, label) || name;
  if (state === "stopped") {
    return [t("end.stopped"), fallback ? t("end.stoppedBecause", { model: name, because: why }) : writers].filter(Boolean).join(" · ");
  }
  const by = fallback ? t(fallback.midway ? "end.finishedBy" : "end.answeredBy", { model: name, because: why }) : writers;
  const end = ended(item, label);
  // An end that names the model says already whose answer it is.
  return (!fallback && end.startsWith(name) ? [end || by] : [by, end]).filter(Boolean).join(" · ");
}

/** What this page was told while the answer came or, after a reload, what the server has kept. @param {Item} item
 * @returns {Fallback | null | undefined} */
const fallbackOf = ({ eventDetails, fallback: kept }) => eventDetails?.fallback ?? (kept && { ...kept, midway: kept.at > 0 });

/**
 * "A, then B": the models of an answer that was handed over, in order; empty: one alone has written it. The last is the
 * one that ended it: where another had to help out, the one that was asked has written little or nothing.
 * @param {Item} item @param {Label} label
 */
function handedOver({ handovers, model }, label) {
  if (!handovers?.length) return "";
  const asked = [handovers[0].from, ...handovers.map(({ to }) => to)];
  const writers = [...asked.slice(0, -1), model ?? asked[asked.length - 1]];
  const [first, ...others] = writers.filter((name, at) => name !== writers[at - 1]).map(label);
  if (others.length === 0) return "";
  return others.reduce((models, model) => t("end.then", { models, model }), first);
}

/** @param {Live} live @param {Label} label */
export function progressLine({ phase, waits, position, model, fallback }, label) {
  if (phase === "queued" && waits) return place(position);
  const thinking = phase === "thinking";
  const name = model ? label(model) : t("model.some");
  if (fallback) {
    const does = thinking ? "progress.thinkingBecause" : "progress.answeringBecause";
    return t(fallback.midway ? "progress.carriesOn" : does, { model: name, because: because(fallback, label) });
  }
  if (thinking || phase === "answering") return t(thinking ? "progress.thinking" : "progress.answering", { model: name });
  return t("progress.connecting", { model: model ? name : t("model.toConnect") });
}

/** For a screen reader: that an answer has come to its end, and to which. @param {Item} item @param {Label} label */
export function endAnnouncement(item, label) {
  if (item.state === "failed") return t("end.failedAnnouncement", { why: failed(item, label) });
  return item.state === "stopped" ? t("end.stoppedAnnouncement") : ended(item, label) || t("end.completeAnnouncement");
}

/** What can be done about an answer's end. @param {Item} item @returns {"retry" | "continue" | null} */
export function recoveryAction({ state, finish_reason: reason }) {
  if (state === "failed") return "retry";
  if (state !== "complete" || ORDINARY.has(reason)) return null;
  return reason === "length" ? "continue" : "retry";
}

/** Above what a model said to itself. @param {Item} item */
export function thinkingSummary({ live, thinking_seconds: seconds }) {
  if (live?.phase === "thinking") return t("thinking.now");
  return seconds ? t("thinking.for", { duration: duration(seconds) }) : t("thinking.done");
}

/** "12 s", "1 min 15 s", "1 h 2 min". @param {number} seconds */
function duration(seconds) {
  if (seconds < 60) return t("unit.seconds", { count: seconds });
  if (seconds < 3_600) {
    return and(t("unit.minutes", { count: Math.floor(seconds / 60) }), "unit.seconds", seconds % 60);
  }
  return and(t("unit.hours", { count: Math.floor(seconds / 3_600) }), "unit.minutes", Math.floor((seconds % 3_600) / 60));
}

/** @param {string} large @param {"unit.minutes" | "unit.seconds"} unit @param {number} small */
const and = (large, unit, small) => (small ? `${large} ${t(unit, { count: small })}` : large);

/** @param {number} position how many wait before this one */
function place(position) {
  return position === 0 ? t("progress.next") : t("progress.waiting", { count: position });
}

/** @param {Fallback} fallback @param {Label} label */
const because = ({ from, reason, midway }, label) => t("wrong.because", { model: label(from), what: wrong(reason, midway)[0] });

/** Nothing, of an answer whose model has said all. @param {Item} item @param {Label} label */
function ended({ finish_reason: reason, model }, label) {
  if (ORDINARY.has(reason)) return "";
  return t(entry(ENDS, reason) ?? ENDS.other, { model: model ? label(model) : t("model.some") });
}

/** @param {Item} item @param {Label} label */
function failed(item, label) {
  const problem = item.problem ?? item.eventDetails?.problem;
  const why = failure(problem, item, label);
  return item.text ? t("failure.incomplete", { why }) : why;
}

/** @param {AnswerProblem | null | undefined} problem @param {Item} item @param {Label} label */
function failure(problem, item, label) {
  if (problem?.type === undefined) return t(item.text ? "failure.restMissing" : "failure.unanswered");
  switch (problem.type.split("/").pop()) {
    case "provider-failed": return providerFailed(problem, item, problem.model ? label(problem.model) : t("model.some"));
    case "generation-lost": return t(item.text ? "failure.interrupted" : "failure.notBegun");
    case "unknown-model": return t("failure.unknownModel");
    case "rate-limited": return limitMessage(problem.limit); // when its turn had come, after it had waited
    default: return t("failure.server");
  }
}

/** @param {AnswerProblem} problem @param {Item} item @param {string} name */
function providerFailed({ reason = "", subject, tokens, limit }, { finish_reason: end, text }, name) {
  const [what, advice] = wrong(reason, Boolean(text));
  if (reason === "too-long" && tokens && typeof limit === "number") return tooLong(subject, tokens, limit, name);
  if (reason === "empty" && end === "length") return t("failure.lengthBeforeFirstWord", { model: name, advice });
  const ending = reason === "empty" && entry(ENDS, end);
  if (ending) return t(ending, { model: name });
  return [t("wrong.sentence", { model: name, what }), advice].filter(Boolean).join(" ");
}

/** With the figures only when they show it: often it is the answer's room that is missing, of an unknown size.
 * @param {string | undefined} subject @param {number} tokens @param {number} limit @param {string} name */
function tooLong(subject, tokens, limit, name) {
  const [what, advice] = entry(TOO_LONG, subject) ?? TOO_LONG.message;
  return t(tokens > limit ? "tooLong.figures" : "tooLong.plain", { what: t(what, { model: name }), tokens, limit, advice });
}
