"""The JSON of answers: handlers return these models, and the OpenAPI document has their schemas."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainSerializer, WithJsonSchema

from core.clock import rfc3339

Moment = Annotated[datetime, PlainSerializer(rfc3339), WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339, in UTC, with microseconds."""


class Answer(BaseModel):
    """Fields may be added to any answer; clients ignore those they don't know."""

    def wire(self) -> dict[str, Any]:
        """The JSON object, without the fields that have not been given."""
        return self.model_dump(mode="json", exclude_unset=True)


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
    created_at: Moment
    expires_at: Moment


class ActiveGeneration(Answer):
    """An answer that is waiting or being written."""

    generation_id: UUID
    state: Literal["queued", "running"]
    model: str


class TitledSession(Session):
    """A session, and its title."""

    title: str | None


class ConfiguredSession(TitledSession):
    """A session, and what its holder has set for it. Null: nothing."""

    system_prompt: str | None
    """Instructions for the models, besides the service's own."""
    temperature: float | None
    """What models are asked with in place of their own."""


class CurrentSession(ConfiguredSession):
    """A session, and its live generation."""

    active_generation: ActiveGeneration | None


class Piece(Answer):
    """A piece of a snippet, as plain text."""

    text: str
    hit: bool
    """Whether this is what was searched for."""


class ListedSession(TitledSession):
    """A session in its owner's list."""

    last_active_at: Moment
    """When its last message came, or it was created."""
    answering: bool
    """Whether an answer is being written, or waits for its turn."""
    unread: bool
    """Whether an answer has ended, other than by a stop, since the conversation, or its events, were last read."""
    snippet: list[Piece] = Field(default_factory=list)
    """Only of a search: the words around what was found in the title or the newest such message, in their order."""


class Sessions(Answer):
    """A page of sessions, last active first."""

    sessions: list[ListedSession]
    next: str | None
    """The `before` of the next page; null on the last one."""


class UsageTotal(Answer):
    """What answers have come to."""

    answers: int
    prompt_tokens: int
    completion_tokens: int
    """Thinking included."""
    cost: str = Field(examples=["0.012345"])
    """In the currency, by the prices at the answers' ends: a decimal number, so that nothing is lost."""


class DailyUsage(UsageTotal):
    """What a user's answers by one model have come to on one day."""

    day: date
    """On which they ended, in UTC."""
    model: str
    """That wrote their ends."""


class Limit(Answer):
    """What a user may ask for, and how much of it is left."""

    name: Literal["messages", "tokens", "cost", "concurrent"]
    """`concurrent`: answers at the same time. What is off is left out."""
    quota: int | str
    """Of money in the currency, a decimal number as text. So is `remaining`."""
    remaining: int | str
    window_seconds: int | None
    """In which the whole quota comes back, little by little; null: with the end of what is under way."""
    resets_at: Moment | None
    """When the whole quota is there again, if nothing more is used."""


class Usage(Answer):
    """What a user's answers have come to. One is there within seconds of its end, and stays when its session is
    deleted."""

    currency: str = Field(examples=["USD"])
    """By ISO 4217."""
    since: date
    until: date
    """Today; both days are included."""
    total: UsageTotal
    usage: list[DailyUsage]
    """The newest day first. Days without answers are left out."""
    limits: list[Limit] | None
    """Null while nothing can be known of them."""


class Handover(Answer):
    """A place in an answer from which on another model has written it, at a person's wish."""

    from_model: str = Field(alias="from")
    to_model: str = Field(alias="to")
    at: int
    """How many characters of the answer came before."""


class Fallback(Answer):
    """That another model has answered than was asked."""

    from_model: str = Field(alias="from")
    to_model: str = Field(alias="to")
    reason: str
    """What the first has failed with, as the event `fallback` told it; `resting`: it had failed a moment before, and
    was not asked."""
    at: int
    """How many characters of the answer came before."""


class StoredMessage(Answer):
    """One turn of a conversation, as it is exported."""

    id: UUID
    role: Literal["user", "assistant"]
    text: str
    html: str | None
    """The text's Markdown as sanitised HTML, made once, when the answer ended. Null while the answer is being
    written, for a user's message, and where rendering would cost too much: clients then show the text as it is."""
    model: str | None
    state: Literal["complete", "streaming", "stopped", "failed"]
    created_at: Moment
    finish_reason: (
        Literal["stop", "length", "content_filter", "refusal", "tool_calls", "other", "stopped", "error"] | None
    )
    """Why an answer ended; null while it is being written, and for a user's message. `refusal`: the model has
    declined; `tool_calls`: it asked for a tool, of which there are none here."""
    thinking: str | None
    """The model's reasoning before or while it answered."""
    thinking_seconds: int | None
    """How long the model thought, in seconds."""
    problem: Problem | None
    """Why an answer failed, as the event `failed` told it: a problem document."""
    handovers: list[Handover] | None
    """Where another model has carried on the answer, as the event `handover` told it; null: nowhere."""
    fallback: Fallback | None
    """Why another model has answered than was asked; null: none has."""
    parent: UUID | None
    """The message that it follows; null at the beginning of a conversation."""


class Message(StoredMessage):
    """One turn of a conversation."""

    siblings: list[UUID]
    """The messages that follow the same one, this included, the oldest first: an edited question beside the old one,
    an answer beside another."""


class Messages(Answer):
    """A page of the current branch, oldest message first, and the place in the events that it reflects."""

    messages: list[Message]
    cursor: str | None
    """Events after this one are not in the messages yet, on whichever page."""
    before: UUID | None
    """The `before` of the next older page; null on the first one."""


class WaitingQuestion(Answer):
    """A question that waits until the answer before it has ended."""

    generation_id: UUID
    message: str
    position: int
    """How many wait before it."""
    created_at: Moment


class Export(ConfiguredSession):
    """Everything that is stored about a session: the messages of all branches, in the order of time."""

    waiting: list[WaitingQuestion]
    messages: list[StoredMessage]


class Pending(Answer):
    """A command that no worker has carried out yet."""

    state: Literal["pending"]


class Task(Answer):
    """The state of a command: its result, or its problem, or neither while it is pending."""

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


class WaitingQuestions(Answer):
    """The questions that wait in a session, in their order."""

    waiting: list[WaitingQuestion]


class Accepted(Answer):
    """A message that will be answered, and the URL of its events."""

    session_id: UUID
    generation_id: UUID
    state: Literal["queued", "waiting"]
    """`waiting`: for the end of the answer before it, in this session."""
    position: int
    """How many come before it: in the queue of answers, or of those that wait in this session."""
    events: str


class Event(Answer):
    """A server-sent event. Comments in between, at least every 15 seconds, keep the connection alive."""

    event: Literal[
        "session",
        "waiting",
        "removed",
        "queued",
        "started",
        "thinking",
        "delta",
        "block",
        "fallback",
        "handover",
        "resumed",
        "done",
        "stopped",
        "failed",
        "model",
        "branch",
        "reset",
        "expired",
    ]
    id: str | None = None
    """`<epoch>-<offset>`: the position to resume after."""
    data: str = Field(json_schema_extra={"contentMediaType": "application/json"})


class UserEvent(Answer):
    """A server-sent event of a user's own stream, without an id: nothing of it is kept."""

    event: Literal["reset", "created", "changed", "model", "answering", "answered", "read", "deleted", "expired"]
    data: str = Field(json_schema_extra={"contentMediaType": "application/json"})


class Branch(Answer):
    """The current branch of a conversation."""

    session_id: UUID
    leaf: UUID
    """The message with which it ends."""


class Stopped(Answer):
    """A generation that has been asked to stop."""

    session_id: UUID
    generation_id: UUID


class User(Answer):
    """An account."""

    user_id: UUID
    email: str | None


class Me(User):
    """The user that the request is authenticated as, and the ways to get an account here."""

    method: Literal["login", "api-key", "oidc"]
    registration: Literal["open", "closed"]
    oidc: bool


class Login(Answer):
    """A browser that is logged in."""

    id: UUID
    created_at: Moment
    last_used_at: Moment
    expires_at: Moment
    current: bool


class Logins(Answer):
    """The user's logins."""

    logins: list[Login]


class ApiKey(Answer):
    """An API key, without its secret."""

    id: UUID
    name: str
    created_at: Moment
    last_used_at: Moment | None


class ApiKeys(Answer):
    """The user's API keys."""

    keys: list[ApiKey]


class NewApiKey(Answer):
    """An API key with its secret, which no other answer holds."""

    id: UUID
    name: str
    key: str
    created_at: Moment


class Health(Answer):
    """The process is alive."""

    status: Literal["ok"]


class Ready(Answer):
    """All parts that the service needs answer."""

    status: Literal["ready"]
