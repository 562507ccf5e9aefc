"""What a handler says about itself, for the API's description (web/openapi/document.py)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from flask import Response
from pydantic import BaseModel

from core.errors import SwitchboardError
from web.schemas.requests import Body

Access = Literal["open", "anybody", "session", "user"]
"""Who may call it: `open` does not look at credentials, `anybody` does but needs none, `session` needs a session's
proof, `user` a login, key or token."""

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""The methods of requests without effects (RFC 9110, 9.2.1)."""
STREAM_ENDPOINT = "events.stream"
"""A GET with effects: it holds a reader, and under the policy `on_stream` it creates a session."""


class Stream:
    """An answer of events, each of them an `answers.Event`."""


Answers = Mapping[int, type[BaseModel] | type[Stream] | str | None]
"""By status: the JSON's model, or a stream, or another media type, or None for an answer without a body."""


@dataclass(frozen=True)
class Parameter:
    """A header or a query parameter that a handler reads."""

    name: str
    place: Literal["header", "query"]
    description: str
    schema: Mapping[str, Any]


TEXT = {"type": "string"}
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "The same key with the same body does nothing again and gives the same answer, for 24 hours. Make it random.",
    {"type": "string", "minLength": 1, "maxLength": 255},
)
IF_MATCH = Parameter("If-Match", "header", "The ETag of the session as it is known; any other is refused.", TEXT)
PREFER = Parameter("Prefer", "header", "`respond-async`: don't wait for a worker, answer 202 at once.", TEXT)
LAST_EVENT_ID = Parameter("Last-Event-ID", "header", "Go on after this event.", TEXT)
LAST_EVENT_ID_QUERY = Parameter("last_event_id", "query", "The same, for clients that can't set headers.", TEXT)
GENERATION_ID = Parameter("generation_id", "query", "End the stream with this generation.", TEXT)


@dataclass(frozen=True)
class Documentation:
    """One operation."""

    answers: Answers
    access: Access
    body: type[Body] | None
    raises: Sequence[type[SwitchboardError]]
    """What it raises by itself, besides what its access, its body and its method entail."""
    takes: Sequence[Parameter]
    etag: bool


View = TypeVar("View", bound=Callable[..., Response])


def documented(
    answers: Answers,
    *,
    access: Access,
    body: type[Body] | None = None,
    raises: Sequence[type[SwitchboardError]] = (),
    takes: Sequence[Parameter] = (),
    etag: bool = False,
) -> Callable[[View], View]:
    """Say what a handler takes and gives. Its docstring says what it does. `etag`: its answers have one."""

    def decorate(view: View) -> View:
        view.documentation = Documentation(answers, access, body, raises, takes, etag)  # type: ignore[attr-defined]
        return view

    return decorate


def documentation(view: Callable[..., Any]) -> Documentation | None:
    """What was said about a handler."""
    found: Documentation | None = getattr(view, "documentation", None)
    return found
