"""Responses, conversations and their items as OpenAI's API has them: pure functions of what the domain has."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from core.conversation.message import Message
from core.generation.answers import Answer
from core.sessions.queries import Session
from web.api.openai import response_events
from web.api.openai.response_events import Described

Json = dict[str, Any]

RESPONSE, MESSAGE = "resp_", "msg_"
"""What ids begin with. Clients look at these two; without, it is the id that the other wires have. A conversation's
id is that of its session as it is."""
STATUSES = {"queued": "queued", "running": "in_progress", "stopped": "cancelled", "failed": "failed"}
"""By the state of an answer; `done` is told by how it has ended."""
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter", "refusal": "content_filter"}
"""Why an answer is incomplete, by the reason for which it ended."""
ERROR_CODES = {
    "rate-limited": "rate_limit_exceeded",
    "too-long": "invalid_prompt",
    "filtered": "invalid_prompt",
}
"""By the reason for which an answer failed."""
ITEM_STATUSES = {"complete": "completed", "streaming": "in_progress", "stopped": "incomplete", "failed": "incomplete"}


class Options(NamedTuple):
    """What a response was asked with, by OpenAI's names: it is kept with the answer. The defaults are those of an
    answer that was asked for by another wire."""

    instructions: str | None = None
    """Those that held for it, whether they came with it or with an earlier one."""
    temperature: float | None = None
    background: bool = False
    metadata: Mapping[str, str] = MappingProxyType({})
    tool_choice: str = "auto"
    """This and the next change nothing here, and are told again."""
    parallel_tool_calls: bool = True
    top_p: float | None = None

    @classmethod
    def of(cls, answer: Answer) -> "Options":
        """Those of an answer."""
        return cls(**{name: value for name, value in answer.client_options.items() if name in cls._fields})

    def json(self) -> Json:
        """By their names."""
        return {**self._asdict(), "metadata": dict(self.metadata)}


def response_id(generation_id: UUID) -> str:
    """The id of a response."""
    return f"{RESPONSE}{generation_id}"


def item_id(message_id: UUID | str) -> str:
    """The id of an item."""
    return f"{MESSAGE}{message_id}"


def parse_id(text: str, prefix: str) -> UUID | None:
    """What an id names, with its prefix or without; None when it is none of ours."""
    bare = text.removeprefix(prefix)
    try:
        named = UUID(bare)
    except ValueError:
        return None
    return named if str(named) == bare else None


def response(answer: Answer) -> Json:
    """A response as it is now."""
    ended = {} if answer.is_live else _ended(answer)
    return {**_response(answer), "status": status(answer), **ended}


def described(answer: Answer) -> Described:
    """What the events of its stream are made of."""
    return Described(_response(answer), item_id(answer.id))


def status(answer: Answer) -> str:
    """OpenAI's word for the answer's state."""
    if answer.state == "done":
        return "incomplete" if answer.finish_reason in INCOMPLETE else "completed"
    return STATUSES[answer.state]


def _response(answer: Answer) -> Json:
    """What of it is the same from its beginning on."""
    return {
        "id": response_id(answer.id),
        "object": "response",
        "created_at": int(answer.created_at.timestamp()),
        "status": "queued",
        "model": answer.model,
        "output": [],
        "conversation": {"id": str(answer.session.id)},
        "previous_response_id": response_id(answer.previous) if answer.previous else None,
        "error": None,
        "incomplete_details": None,
        "max_output_tokens": answer.max_tokens,
        "store": True,
        "text": {"format": {"type": "text"}},
        "tools": [],
        "truncation": "auto",  # what does not fit is left out from the beginning
        "usage": None,
        **Options.of(answer).json(),
    }


def _ended(answer: Answer) -> Json:
    written, usage = answer.message, None
    if answer.completion_tokens is not None:
        read, wrote = answer.prompt_tokens or 0, answer.completion_tokens
        usage = {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": wrote,
            "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens or 0},
            "total_tokens": read + wrote,
        }
    reason = INCOMPLETE.get(answer.finish_reason or "") if answer.state == "done" else None
    return {
        "completed_at": int(answer.finished_at.timestamp()) if answer.finished_at else None,
        "error": _error(written) if answer.state == "failed" else None,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": [] if written is None else [output(written)],
        "usage": usage,
    }


def _error(written: Message | None) -> Json:
    problem = (written.problem if written else None) or {}
    code = ERROR_CODES.get(str(problem.get("reason")), "server_error")
    return {"code": code, "message": problem.get("detail") or "The answer could not be written."}


def output(written: Message) -> Json:
    """An answer as an item."""
    return response_events.message(item_id(written.id), written.text, ITEM_STATUSES[written.state])


def item(message: Message) -> Json:
    """A message of a conversation as an item."""
    if message.role == "assistant":
        return output(message)
    return {
        "id": item_id(message.id),
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": message.text}],
    }


def items(messages: Iterable[Message], *, more: bool) -> Json:
    """A page of items."""
    data: Sequence[Json] = [item(message) for message in messages]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": more,
    }


def conversation(session: Session) -> Json:
    """A conversation."""
    return {
        "id": str(session.id),
        "object": "conversation",
        "created_at": int(session.created_at.timestamp()),
        "metadata": session.client_metadata or {},
    }
