"""The tables. Words of anonymous sessions never appear here."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    and_,
    false,
    func,
    literal_column,
    text,
    true,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC. SQLite keeps no zone, so it is dropped going in and restored coming out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive datetimes; store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime was given; every time in the database is aware and in UTC")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return aware datetimes in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Names every constraint, so that migrations on both databases can refer to it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, UUID: Uuid}


class User(Base):
    """A person with an account: by e-mail and password, or by an OIDC issuer's subject."""

    __tablename__ = "user"
    __table_args__ = (UniqueConstraint("oidc_issuer", "oidc_subject"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(String(254), unique=True)
    """Case-folded. None for people who only ever come through an issuer."""
    password_hash: Mapped[str | None] = mapped_column(String(256))
    """argon2id, with its parameters and salt."""
    oidc_issuer: Mapped[str | None] = mapped_column(String(255))
    oidc_subject: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    """When the account was deleted: it can't be used any more, and what belongs to it is being removed."""
    limits: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    """Limits of their own, by policy, as options say them; the others are everybody's
    (core/limits/message_limits.py)."""


class Login(Base):
    """One browser that a user is logged in with."""

    __tablename__ = "login"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    """SHA-256 of the cookie's secret."""
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    ends_at: Mapped[datetime]


class ApiKey(Base):
    """A key for programs, shown once."""

    __tablename__ = "api_key"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class Session(Base):
    """A chat session. Only SessionService writes this table."""

    __tablename__ = "session"
    __allow_unmapped__ = True  # for `issued_secret` and `owner_limits`
    __table_args__ = (
        # An anonymous session is proved by its secret, an owned one by its owner's login: never both, never neither.
        CheckConstraint("(owner_id IS NULL) <> (secret_hash IS NULL)", name="one_proof"),
        # The list of a user's sessions, last active first.
        Index(
            "ix_session_activity",
            "owner_id",
            text("coalesce(last_active_at, created_at)"),
            "id",
            sqlite_where=text("owner_id IS NOT NULL"),
            postgresql_where=text("owner_id IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    secret_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """SHA-256 of the secret; the secret itself is kept nowhere."""
    last_active_at: Mapped[datetime | None]
    """When its last message came. None before the first, and for anonymous sessions."""
    read_until: Mapped[datetime | None]
    """The end of the last answer that its owner has read."""
    title: Mapped[str | None] = mapped_column(String(200))
    """What its owner calls it. Always None for anonymous sessions: a title is words."""
    system_prompt: Mapped[str | None] = mapped_column(Text)
    """The owner's instructions for the models. Always None for anonymous sessions."""
    temperature: Mapped[float | None] = mapped_column(Double)
    """What models are asked with in place of their own. Always None for anonymous sessions."""
    client_metadata: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    """What a client notes of it, in words of its own. Always None for anonymous sessions."""
    last_model: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(default=1)
    """Grows with each switch of the model."""
    last_command: Mapped[UUID | None]
    """The id of the command that switched the model last: delivered again, it changes nothing."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    ends_at: Mapped[datetime]
    """The end of the absolute lifetime; `expires_at` never passes it."""
    ephemeral: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether it is for a single request that brings its own conversation: a user's, that no credential opens and no
    list shows, and of which nothing stays once the request is answered."""
    leaf_id: Mapped[UUID | None]
    """The message with which the branch ends that its owner has turned to, if they have."""
    leaf_since: Mapped[UUID | None]
    """The newest message at that time. As long as it is the newest, the current branch ends with `leaf_id`; else,
    with the newest. So what is written, or taken back, needs no change here."""

    owner_limits: Mapping[str, str] | None = None
    """Not a column: its owner's `User.limits`, where they have been read with it."""
    issued_secret: str | None = None
    """Not a column: the secret of a session that `create_session` has just issued one for, to hand to its holder."""

    @property
    def anonymous(self) -> bool:
        """Whether the session has no owner."""
        return self.owner_id is None

    @property
    def words_in_redis(self) -> bool:
        """Whether its words are in Redis only, as long as the session, and never in SQL."""
        return self.anonymous or self.ephemeral


ACTIVITY = func.coalesce(Session.last_active_at, Session.created_at)
"""A session's place in its owner's list."""


class GenerationState(StrEnum):
    """The life cycle: queued -> running -> done | stopped | failed, and back to queued when a worker hands it on."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


LIVE = (GenerationState.QUEUED, GenerationState.RUNNING)


class Generation(Base):
    """One answer, being written or ended: its worker's lease and its outcome, without the conversation's words."""

    __tablename__ = "generation"
    __table_args__ = (
        Index(
            "uq_generation_live",
            "session_id",
            unique=True,
            sqlite_where=text("state IN ('queued', 'running')"),
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
        Index(None, "session_id", "id"),
        # The reaper looks for lapsed leases among the live ones only.
        Index(
            "ix_generation_lease",
            "lease_until",
            sqlite_where=text("state IN ('queued', 'running')"),
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
        # What the reaper has still to tell of.
        Index(
            "ix_generation_untold",
            "finished_at",
            sqlite_where=text("untold IS NOT NULL"),
            postgresql_where=text("untold IS NOT NULL"),
        ),
        # What has still to be counted.
        Index(
            "ix_generation_uncounted",
            "finished_at",
            sqlite_where=text("uncounted IS NOT NULL"),
            postgresql_where=text("uncounted IS NOT NULL"),
        ),
        # The line: whose turn is next.
        Index(
            "ix_generation_turn",
            "turn",
            sqlite_where=text("state = 'queued'"),
            postgresql_where=text("state = 'queued'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("session.id", ondelete="CASCADE"))
    model: Mapped[str] = mapped_column(String(64))
    """The model that is asked: the one it was accepted with, or was handed over to since."""
    question_id: Mapped[UUID | None]
    """The message that it answers."""
    answer_id: Mapped[UUID | None]
    """The message that it writes. None: the one of its own id, and its question has come with it."""
    kept_length: Mapped[int] = mapped_column(default=0, server_default="0")
    """Characters of the message that were there before: it goes on with an answer that had ended."""
    kept_thinking: Mapped[int] = mapped_column(default=0, server_default="0")
    """Characters of its thinking that were."""
    state: Mapped[str] = mapped_column(String(16), default=GenerationState.QUEUED)
    attempt: Mapped[int] = mapped_column(default=0)
    """How many workers have claimed it so far."""
    lease_until: Mapped[datetime]
    """Until when its worker (or, while queued, the queue) is trusted to be alive."""
    created_at: Mapped[datetime]
    turn: Mapped[datetime | None]
    """Its place in the queue: the earlier, the sooner; see core/generation/scheduler.py. None until its log tells
    of it."""
    stop_requested: Mapped[bool] = mapped_column(default=False)
    """Whether a stop was requested; every attempt obeys it."""
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    finish_reason: Mapped[str | None] = mapped_column(String(64))
    prompt_tokens: Mapped[int | None]
    """What the answer counts for, once it has ended; see core/generation/usage.py."""
    completion_tokens: Mapped[int | None]
    reasoning_tokens: Mapped[int | None]
    """How many of the completion's tokens are thinking."""
    cost: Mapped[int | None] = mapped_column(BigInteger)
    """What they cost by the prices at its end, in millionths of the currency (core/llm/prices.py)."""
    settled_tokens: Mapped[int | None]
    """What its owner's budget has been charged, once it has been."""
    request_id: Mapped[str | None] = mapped_column(String(64))
    """Of the question's request: the lines that are logged for the answer have it."""
    traceparent: Mapped[str | None] = mapped_column(String(55))
    """The span of that request, as W3C Trace Context writes it, where traces are taken."""
    unpublished: Mapped[dict[str, Any] | None] = mapped_column("untold", JSON(none_as_null=True))
    """The data of the terminal event until the log has it and the budget is settled: Redis may be away when an
    answer ends."""
    answered_by: Mapped[str | None] = mapped_column(String(64))
    """The model that has written its end, where one has."""
    max_tokens: Mapped[int | None]
    """The tokens that it is to have at the most, where its question says so."""
    client_options: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """What its question was asked with, for who asks for it again; see core/generation/wishes.py. Always None for
    anonymous sessions: there may be words in it."""
    first_token_at: Mapped[datetime | None]
    """When its first word came, or the first of its thinking. None when the worker that wrote it was lost."""
    hand_offs: Mapped[int] = mapped_column(default=0, server_default="0")
    """How many workers have handed it on. Every other attempt after the first has taken it over."""
    fallbacks: Mapped[int] = mapped_column(default=0, server_default="0")
    """How often another model was asked in the place of one that had failed."""
    waited: Mapped[bool | None]
    """Whether its question has waited for the end of another answer: then its id is older than its turn."""
    handover_to: Mapped[str | None] = mapped_column(String(64))
    """The model that a person wants to carry on, until the answer's worker has found it."""
    handovers: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    """The models that have handed over to others, in their order; see core/conversation/handover.py."""
    uncounted: Mapped[bool | None]
    """True from its end until it is counted (core/stores/tally.py), which is once."""


class Waiting(Base):
    """A question that waits until the answer before it has ended (core/generation/waiting.py)."""

    __tablename__ = "waiting"
    __table_args__ = (Index(None, "session_id", "place"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    """That of the generation which will answer it."""
    session_id: Mapped[UUID] = mapped_column(ForeignKey("session.id", ondelete="CASCADE"))
    place: Mapped[int]
    """Its place among those of its session: the smaller, the sooner."""
    parent_id: Mapped[UUID | None]
    """The message that it is to follow; the session's id: it begins the conversation. None: the end of the current
    branch at its turn."""
    model: Mapped[str | None] = mapped_column(String(64))
    """The model that is to answer it. None: the session's at its turn."""
    words_id: Mapped[UUID]
    """Changes with its words; the words of an anonymous session's are in Redis only, under this id."""
    text: Mapped[str | None] = mapped_column(Text)
    """Of an owned session's."""
    created_at: Mapped[datetime]
    not_before: Mapped[datetime | None]
    """When its owner's limits will take it, if they have refused it."""
    request_id: Mapped[str | None] = mapped_column(String(64))
    """Of its request."""
    traceparent: Mapped[str | None] = mapped_column(String(55))
    """The span of that request."""


# In a statement's own text, and not as parameters: only then do databases see that their partial indexes have all
# that is asked for, and leave the ended ones alone.
IS_QUEUED = Generation.state == literal_column("'queued'")
IS_ENQUEUED = and_(IS_QUEUED, Generation.turn.is_not(None))
IS_LIVE = Generation.state.in_([literal_column(f"'{state}'") for state in LIVE])


class Message(Base):
    """One turn of an owned session. The words of anonymous ones are in Redis only."""

    __tablename__ = "message"
    __table_args__ = (
        # All of a session is read in the order of time; what stands beside a message is found by what both follow.
        Index(None, "session_id", "created_at", "id"),
        Index(None, "session_id", "parent_id"),
        # What has still to be indexed.
        Index(
            "ix_message_unsearchable",
            "session_id",
            sqlite_where=text("searchable IS NULL"),
            postgresql_where=text("searchable IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    """An answer has its generation's id."""
    session_id: Mapped[UUID] = mapped_column(ForeignKey("session.id", ondelete="CASCADE"))
    parent_id: Mapped[UUID | None]
    """The message that it follows, which is older; or the session's id: it begins a conversation. None, as processes
    of the version before write it: it follows the one before it in the order of time and id."""
    role: Mapped[str] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(Text)
    html: Mapped[str | None] = mapped_column(Text)
    """An answer's Markdown, rendered when it ended; None when it was not, and for what a person wrote."""
    model: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    finish_reason: Mapped[str | None] = mapped_column(String(32))
    """Why an answer ended: a provider's reason (core/llm/providers/base.py), `stopped` or `error`."""
    thinking: Mapped[str | None] = mapped_column(Text)
    """What the model said to itself."""
    thinking_seconds: Mapped[int | None]
    problem: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Why an answer failed, as the terminal event told it."""
    handovers: Mapped[str | None] = mapped_column(Text)
    """Where an answer was handed over, and between which models: JSON, which is checked when it is read."""
    fallback: Mapped[str | None] = mapped_column(Text)
    """That another model has answered than was asked, and why: likewise JSON."""
    created_at: Mapped[datetime]
    searchable: Mapped[bool | None]
    """Whether the search finds it by its words as they are. None from each keeping on, until they are indexed."""


class MessageWords(Base):
    """What the search finds an owned session's message by, or its title: each word once, in no order
    (core/sessions/search.py)."""

    __tablename__ = "message_words"
    __table_args__ = (Index("ix_message_words_words", "words", postgresql_using="gin").ddl_if("postgresql"),)

    number: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    """By which SQLite's index of the words, an FTS5 table, names the row."""
    document_id: Mapped[UUID] = mapped_column(unique=True)
    """The message's, or for a title the session's."""
    session_id: Mapped[UUID] = mapped_column(ForeignKey("session.id", ondelete="CASCADE"), index=True)
    message_id: Mapped[UUID | None] = mapped_column(ForeignKey("message.id", ondelete="CASCADE"), index=True)
    words: Mapped[str] = mapped_column(Text().with_variant(postgresql.TSVECTOR(), "postgresql"))


class Tally(Base):
    """How much has ever been counted, for /metrics: of answers, whose rows go with their sessions."""

    __tablename__ = "tally"

    sample: Mapped[str] = mapped_column(String(400), primary_key=True)
    """A sample of a metric: its name and its labels (core/stores/samples.py)."""
    value: Mapped[float] = mapped_column(Double)


class DailyUsage(Base):
    """What a user's answers by one model have come to on one day; it outlives the sessions, and goes with the
    account. Nothing is kept of anonymous sessions."""

    __tablename__ = "daily_usage"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    """On which they ended, in UTC."""
    model: Mapped[str] = mapped_column(String(64), primary_key=True)
    """That has written their ends."""
    answers: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    cost: Mapped[int] = mapped_column(BigInteger)
    """Millionths of the currency."""


class RemovalBatch(Base):
    """What has still to be removed from Redis for sessions that are gone, or that have an owner now: all those of one
    transaction in one row, since a sweep has millions.

    Written in that transaction, and deleted once Redis has confirmed.
    """

    __tablename__ = "removal_batch"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    removals: Mapped[str] = mapped_column(Text)
    """JSON (core/conversation/removals.py)."""


class Removal(Base):
    """What has still to be removed from Redis for one session: out of a batch that has failed, or written by the
    version that knew no batches. No foreign keys: the rows that it is about are gone.
    """

    __tablename__ = "removal"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID]
    reason: Mapped[str] = mapped_column(String(16))
    """`deleted`, `expired` or `claimed`."""
    owner_id: Mapped[UUID | None]
    """The user whose limits counted the session's answers; None for an anonymous session, which is its own owner."""
    generation_id: Mapped[UUID | None]
    """The answer that was live."""
    listed: Mapped[bool] = mapped_column(default=True, server_default=true())
    """Whether it was in its owner's list, so that its owner is told."""


class AuditEvent(Base):
    """Something that an operator may have to account for. Append-only: no code changes a row, and a row
    is deleted only when it is older than the operator wants to keep it.

    No foreign keys: the rows outlive what they tell of. No secrets, no words, no address of an anonymous person.
    """

    __tablename__ = "audit_event"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    kind: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[UUID | None]
    session_id: Mapped[UUID | None]
    detail: Mapped[str | None] = mapped_column(String(255))


class Installation(Base):
    """Which installation the database is of: one row, which its migration makes (core/operations/installation.py)."""

    __tablename__ = "installation"

    id: Mapped[UUID] = mapped_column(primary_key=True)
