"""The JSON that handlers answer with, for the API's description. The handlers build it; a test compares the two."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class Answer(BaseModel):
    """Fields may be added to any answer; clients ignore those they don't know."""


class Problem(BaseModel):
    """Problem details (RFC 9457). Some problems have more fields."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/problems/session-required"])
    title: str
    status: int
    detail: str


class Session(Answer):
    """A session."""

    session_id: UUID
    anonymous: bool
    model: str
    version: int
    created_at: datetime
    expires_at: datetime


class ActiveGeneration(Answer):
    """An answer that is waiting or being written."""

    generation_id: UUID
    state: Literal["queued", "running"]
    model: str


class CurrentSession(Session):
    """A session, and its live generation."""

    active_generation: ActiveGeneration | None


class TitledSession(Session):
    """A user's session."""

    title: str | None


class Sessions(Answer):
    """A page of sessions."""

    sessions: list[TitledSession]
    next: UUID | None
    """What to give as `before` for the next page; null on the last one."""


class Message(Answer):
    """One turn of a conversation."""

    id: UUID
    role: Literal["user", "assistant"]
    text: str
    html: str | None
    """The text's Markdown as sanitised HTML, made once, when the answer ended. Null while the answer is being
    written, for what a person wrote, and where rendering would cost too much: then show the text as it stands."""
    model: str | None
    state: Literal["complete", "streaming", "stopped", "failed"]
    created_at: datetime
    finish_reason: (
        Literal["stop", "length", "content_filter", "refusal", "tool_calls", "other", "stopped", "error"] | None
    )
    """Why an answer ended; null while it is being written, and for what a person wrote. `refusal`: the model has
    declined; `tool_calls`: it asked for a tool, of which there are none here."""
    thinking: str | None
    """What the model said to itself before or while it answered."""
    thinking_seconds: int | None
    """How long it did."""
    problem: Problem | None
    """Why an answer failed, as the event `failed` told it: a problem document."""


class Messages(Answer):
    """A page of a conversation, oldest message first, and the place in the events that it reflects."""

    messages: list[Message]
    cursor: str | None
    """Events after this one are not in the messages yet, on whichever page."""
    before: UUID | None
    """What to give as `before` for the next older page; null on the first one."""


class Export(TitledSession):
    """Everything that is stored about a session."""

    messages: list[Message]


class Pending(Answer):
    """A command that no worker has answered yet."""

    state: Literal["pending"]


class Task(Answer):
    """What became of a command: a result, or a problem, or neither yet."""

    state: Literal["pending", "done", "failed"]
    result: dict[str, JsonValue] = Field(default_factory=dict)
    problem: Problem | None = None


class Model(Answer):
    """A model on offer."""

    name: str
    label: str
    provider: str
    context_tokens: int
    available: bool


class Models(Answer):
    """The models on offer."""

    default: str
    models: list[Model]


class Accepted(Answer):
    """A message that will be answered, and where the events come."""

    session_id: UUID
    generation_id: UUID
    state: Literal["queued"]
    position: int
    events: str


class Event(Answer):
    """A server-sent event. Comments in between, at least every 15 seconds, keep the connection alive."""

    event: Literal[
        "session",
        "queued",
        "started",
        "thinking",
        "delta",
        "fallback",
        "resumed",
        "done",
        "stopped",
        "failed",
        "model",
        "reset",
        "expired",
    ]
    id: str | None = None
    """`<epoch>-<offset>`; what to resume after."""
    data: str = Field(json_schema_extra={"contentMediaType": "application/json"})


class Stopped(Answer):
    """A generation that was told to stop."""

    session_id: UUID
    generation_id: UUID


class User(Answer):
    """An account."""

    user_id: UUID
    email: str | None


class Me(User):
    """Whom the request speaks for, and what can be done here to become somebody."""

    method: Literal["login", "api-key", "oidc"]
    registration: Literal["open", "closed"]
    oidc: bool


class Login(Answer):
    """A browser that is logged in."""

    id: UUID
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    current: bool


class Logins(Answer):
    """The user's logins."""

    logins: list[Login]


class ApiKey(Answer):
    """An API key, without its secret."""

    id: UUID
    name: str
    created_at: datetime
    last_used_at: datetime | None


class ApiKeys(Answer):
    """The user's API keys."""

    keys: list[ApiKey]


class NewApiKey(Answer):
    """An API key, for the only time with its secret."""

    id: UUID
    name: str
    key: str
    created_at: datetime


class Health(Answer):
    """The process is alive."""

    status: Literal["ok"]


class Ready(Answer):
    """Everything is there."""

    status: Literal["ready"]
