"""Our events as chunks of a UI message stream, and messages as UI messages: pure functions.

The chunks of an answer depend on its events alone, from the first one on, so that the number of a chunk means the
same to every reader: a client that has had N of them goes on from there (`startIndex`). The clients' own rules are in
`ai`'s src/ui/process-ui-message-stream.ts: one chunk of a type that it does not know ends its stream, a part's words
need its start, and parts that are under way are forgotten with `finish-step`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from core.conversation.message import Message

Chunk = dict[str, Any]

TEXT, REASONING = "t", "r"
"""The ids of the parts; `@ai-sdk/workflow` drops one that comes a second time. A text has one part; thinking that
begins again, or goes on after some text, has another: `r2` and so on."""
FINISH: Chunk = {"type": "finish"}
"""Without it a client takes a stream for broken (`@ai-sdk/workflow`), or half an answer for a whole one (`ai`)."""
FINISH_REASONS: Mapping[str, str] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
}
"""Ours, as the clients have them. Every other one is `other`."""


class Answer(NamedTuple):
    """What the first chunk says of the answer."""

    session_id: str
    message_id: str
    model: str


class Parts(NamedTuple):
    """What of a message has been told to a client, and is under way."""

    begun: bool = False
    stepped: bool = False
    reasoning: bool = False
    thoughts: int = 0
    """How many parts of thinking have been begun."""
    text: bool = False
    fell_back: bool = False
    """Whether a fallback has been told of."""


NOTHING = Parts()


class Told(NamedTuple):
    """The chunks of an event, and what is under way after them."""

    parts: Parts
    chunks: list[Chunk]


def tell(parts: Parts, kind: str, data: Mapping[str, Any], answer: Answer) -> Told:
    """The chunks of an event of the answer. An event that the clients have no use for has none."""
    match kind:
        case "queued":
            place = {"type": "data-queue", "id": "queue", "data": {"position": data["position"]}, "transient": True}
            begun = _begun(parts, answer)
            return Told(begun.parts, [*begun.chunks, place])
        case "started":
            return _stepped(parts, answer)
        case "thinking":
            return _thinking(parts, data["text"], anew=data["at"] == 0, answer=answer)
        case "delta":
            return _text(parts, data["text"], answer)
        case "fallback" | "handover":
            about = {name: value for name, value in data.items() if name not in ("generation_id", "thinking")}
            dropped = _thinking_dropped(parts, data)
            begun = _begun(dropped.parts, answer)
            told = begun.parts._replace(fell_back=begun.parts.fell_back or kind == "fallback")
            return Told(told, [*dropped.chunks, *begun.chunks, {"type": f"data-{kind}", "data": about}])
        case "resumed":
            return _thinking_dropped(parts, data)
        case "done" | "stopped" | "failed":
            return _end(parts, kind, data, answer)
    return Told(parts, [])


def tell_at_once(message: Message, answer: Answer) -> Told:
    """What there is of an answer that is being written, in as few chunks as there can be. They are counted as no
    others are."""
    told = _stepped(NOTHING, answer)
    parts, chunks = told.parts, told.chunks
    for words, tell_words in ((message.thinking, _thoughts), (message.text, _text)):
        if words:
            parts, more = tell_words(parts, words, answer)
            chunks = chunks + more
    return Told(parts, chunks)


def ui_message(message: Message, session_id: str) -> dict[str, Any]:
    """A message that is complete, as the clients keep it."""
    parts: list[Chunk] = []
    if message.role == "assistant":
        parts.append({"type": "step-start"})
    if message.thinking:
        parts.append({"type": "reasoning", "text": message.thinking, "state": "done"})
    if message.text:
        parts.append({"type": "text", "text": message.text, "state": "done"})
    metadata = {
        "session_id": session_id,
        "model": message.model,
        "state": message.state,
        "created_at": message.created_at,
        "finish_reason": message.finish_reason,
        "problem": message.problem,
    }
    known = {name: value for name, value in metadata.items() if value is not None}
    return {"id": message.id, "role": message.role, "parts": parts, "metadata": known}


def _begun(parts: Parts, answer: Answer) -> Told:
    if parts.begun:
        return Told(parts, [])
    metadata = {"session_id": answer.session_id, "model": answer.model}
    return Told(
        parts._replace(begun=True),
        [{"type": "start", "messageId": answer.message_id, "messageMetadata": metadata}],
    )


def _stepped(parts: Parts, answer: Answer) -> Told:
    if parts.stepped:
        return Told(parts, [])
    begun = _begun(parts, answer)
    return Told(begun.parts._replace(stepped=True), [*begun.chunks, {"type": "start-step"}])


def _thinking(parts: Parts, words: str, *, anew: bool, answer: Answer) -> Told:
    """No client can take back what it has been told, so thinking that begins again is another part."""
    ended = _reasoning_ended(parts) if anew else Told(parts, [])
    if not words:
        return ended
    told = _thoughts(ended.parts, words, answer)
    return Told(told.parts, ended.chunks + told.chunks)


def _thoughts(parts: Parts, words: str, answer: Answer) -> Told:
    stepped = _stepped(parts, answer)
    open_now = stepped.parts._replace(reasoning=True, thoughts=parts.thoughts + (not parts.reasoning))
    opening = [] if parts.reasoning else [{"type": "reasoning-start", "id": _reasoning_id(open_now)}]
    said = {"type": "reasoning-delta", "id": _reasoning_id(open_now), "delta": words}
    return Told(open_now, [*stepped.chunks, *opening, said])


def _reasoning_id(parts: Parts) -> str:
    return REASONING if parts.thoughts == 1 else f"{REASONING}{parts.thoughts}"


def _text(parts: Parts, words: str, answer: Answer) -> Told:
    stepped = _stepped(parts, answer)
    ended = _reasoning_ended(stepped.parts)
    opening = [] if parts.text else [{"type": "text-start", "id": TEXT}]
    said = {"type": "text-delta", "id": TEXT, "delta": words}
    return Told(ended.parts._replace(text=True), [*stepped.chunks, *ended.chunks, *opening, said])


def _thinking_dropped(parts: Parts, data: Mapping[str, Any]) -> Told:
    """Who carries on thinks anew, unless there are words of the answer: the event says how much stays."""
    return _reasoning_ended(parts) if data.get("thinking") == 0 else Told(parts, [])


def _reasoning_ended(parts: Parts) -> Told:
    if not parts.reasoning:
        return Told(parts, [])
    return Told(parts._replace(reasoning=False), [{"type": "reasoning-end", "id": _reasoning_id(parts)}])


def _rested(parts: Parts, data: Mapping[str, Any]) -> list[Chunk]:
    """That another model has given the answer than was asked, where no event has told of it: that one rested."""
    fallback = None if parts.fell_back else data.get("fallback")
    if fallback is None:
        return []
    return [{"type": "data-fallback", "data": {name: fallback[name] for name in ("from", "to", "reason")}}]


def _end(parts: Parts, kind: str, data: Mapping[str, Any], answer: Answer) -> Told:
    begun = _begun(parts, answer)
    if kind == "failed":
        problem = data["problem"]
        error = {"type": "error", "errorText": problem.get("detail") or problem["title"]}
        return Told(begun.parts, [*begun.chunks, error, {**FINISH, "finishReason": "error"}])
    thought = _reasoning_ended(begun.parts)
    closing = [{"type": "text-end", "id": TEXT}] if parts.text else []
    closing += [{"type": "finish-step"}] if parts.stepped else []
    chunks = [*begun.chunks, *_rested(parts, data), *thought.chunks, *closing]
    if kind == "stopped":
        metadata = {"finish_reason": "stopped"}
        chunks += [{"type": "abort", "reason": "stopped"}, {**FINISH, "messageMetadata": metadata}]
    else:
        reason = data["finish_reason"]
        metadata = {name: data[name] for name in ("model", "usage", "finish_reason") if name in data}
        finish = {"finishReason": FINISH_REASONS.get(reason, "other"), "messageMetadata": metadata}
        chunks.append({**FINISH, **finish})
    return Told(Parts(begun=True), chunks)
