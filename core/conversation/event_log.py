"""One ordered, replayable log of events per session, in Redis.

Five keys in one hash slot: the log itself (a stream), what is known of it (a hash, with the places of an anonymous
session's words by their ids), the answer being written and the thinking for it (strings) and, for an anonymous
session, its words (a list). An append is one Lua script, so the event, the text it carries and its announcement are
one step. Announcements have the format of flask-sse's messages: a stock flask-sse reader on the same Redis sees the
live events too.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast
from uuid import UUID

from core.conversation.event_log_scripts import APPEND, BEGIN_ANEW, REQUEST_STOP, TAKE_OVER, TOUCH
from core.stores.redis import Pipeline, Redis, Script

MAX_EVENTS = 10_000
"""Events kept per session, about; older ones are trimmed, and a cursor before them is reset."""
MARGIN = timedelta(minutes=2)
"""How much longer than its session a log lives: the sweep removes it, this is for when no sweep runs."""
PAGE = 500
"""Events read at once."""
LAST = 2**31
"""The sequence number of every generation's terminal event, so that the log takes one."""


class Position(NamedTuple):
    """A place in a log; on the wire `<epoch>-<offset>`. The epoch is another one when Redis lost the log."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Position | None":
        """The position a client names, or None when it is not one."""
        epoch, _, offset = text.partition("-")
        if not (epoch.isalnum() and epoch.isascii() and offset.isdecimal() and offset.isascii() and len(text) <= 40):
            return None
        return cls(epoch, int(offset))


class Event(NamedTuple):
    """One event of a log. `data` is JSON text, ASCII only, so no line break can end it early."""

    offset: int
    type: str
    data: str


@dataclass(frozen=True)
class Page:
    """A part of a log, read in one step with what is known of the whole."""

    epoch: str
    """Empty: there is no log (yet)."""
    top: int
    """The newest event's offset."""
    start: int | None
    """The offset before the live generation's first event, or None when nothing is live."""
    events: Sequence[Event]


@dataclass(frozen=True)
class Producer:
    """Who appends an event of a generation. The log refuses an older attempt and drops a repeated `seq`."""

    generation_id: UUID
    attempt: int
    seq: int


class Written(NamedTuple):
    """What there is of an answer that is being written."""

    text: str = ""
    thinking: str = ""
    thought_for: int = 0
    """Milliseconds."""


class Thought(NamedTuple):
    """What an append does to the thinking."""

    text: str = ""
    """Is added to it."""
    before: int = 0
    """Bytes of UTF-8 that there are of it until then."""
    forgets: bool = False
    """Whether those go first: the thinking begins again."""
    lasted: int = 0
    """Milliseconds that all the thinking has taken."""


NO_THOUGHT = Thought()


class Fenced(Exception):
    """The log refused an event: a newer attempt writes this generation."""


class EndedBefore(Exception):
    """The log refused to begin a generation: its end came first."""


class LogLost(Exception):
    """The log refused an event: Redis has lost it, or its newest part, or its session is gone."""


def channel(session_id: UUID) -> str:
    """The pub/sub channel on which a session's events are announced."""
    return f"sb:{session_id}"


def session_of(name: str) -> UUID:
    """The reverse of `channel`."""
    return UUID(name.removeprefix("sb:"))


class Keys(NamedTuple):
    """All that a session has in Redis. One hash slot."""

    log: str
    meta: str
    partial: str
    """The text of the answer being written."""
    words: str
    thinking: str
    """What the model has said to itself for that answer."""


def keys(session_id: UUID) -> Keys:
    """The session's keys."""
    return Keys(*(f"sb:{{{session_id}}}:{each}" for each in Keys._fields))


class EventLog:
    """Appends to and reads from the logs."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._append: Script = redis.register_script(APPEND)
        self._touch: Script = redis.register_script(TOUCH)
        self._take_over: Script = redis.register_script(TAKE_OVER)
        self._begin_anew: Script = redis.register_script(BEGIN_ANEW)
        self._request_stop: Script = redis.register_script(REQUEST_STOP)

    def append(
        self,
        session_id: UUID,
        kind: str,
        data: Mapping[str, Any],
        *,
        expires_at: datetime,
        producer: Producer | None = None,
        role: str = "",
        text: str = "",
        word: str = "",
        answer: str = "",
        written: int = 0,
        retracts: str = "",
        thought: Thought = NO_THOUGHT,
    ) -> Position:
        """Append one event and announce it.

        `producer` and `role` ("begin", "write" or "end") tie it to a generation; `text` is added to the
        answer being written, of which there are `written` bytes of UTF-8, `thought` to the thinking for it, `word`
        to the words of an anonymous session, from which the newest one goes again if `retracts` is its id.
        `expires_at` is the session's. Raises Fenced, LogLost or EndedBefore.
        """
        offset, epoch = cast(
            "tuple[int, str]",
            self._append(
                keys=keys(session_id),
                args=[
                    kind,
                    json.dumps(data, separators=(",", ":")),
                    channel(session_id),
                    _new_epoch(),
                    MAX_EVENTS,
                    _milliseconds(expires_at + MARGIN),
                    role,
                    str(producer.generation_id) if producer else "",
                    producer.attempt if producer else 0,
                    producer.seq if producer else 0,
                    text,
                    word,
                    answer,
                    written,
                    retracts,
                    thought.text,
                    thought.before,
                    int(thought.forgets),
                    thought.lasted,
                ],
            ),
        )
        _check(offset)
        return Position(epoch, offset)

    def take_over(self, session_id: UUID, generation_id: UUID, attempt: int) -> Written:
        """Refuse all earlier attempts from now on, and return what they have left.

        Raises Fenced or LogLost.
        """
        code, text, thinking, thought_for = cast(
            "tuple[int, str, str, int]", self._take_over(keys=keys(session_id), args=[str(generation_id), attempt])
        )
        _check(code)
        return Written(text, thinking, thought_for)

    def begin_anew(
        self, session_id: UUID, generation_id: UUID, attempt: int, *, expires_at: datetime, answer: str
    ) -> None:
        """Begin the log of a live generation a second time, empty and in another epoch. Raises Fenced."""
        expires = _milliseconds(expires_at + MARGIN)
        arguments: list[str | int] = [str(generation_id), attempt, answer, _new_epoch(), expires, LAST]
        _check(cast("int", self._begin_anew(keys=keys(session_id), args=arguments)))

    def request_stop(self, session_id: UUID, generation_id: UUID) -> None:
        """Let the generation's worker know soon that it is to stop; the row is what holds."""
        self._request_stop(keys=keys(session_id), args=[str(generation_id)])

    def stop_requested(self, session_id: UUID, generation_id: UUID) -> bool:
        """Whether the generation's worker is to stop."""
        return self._redis.hget(keys(session_id).meta, "stop") == str(generation_id)

    def read(self, session_id: UUID, after: int, limit: int = PAGE) -> Page:
        """The events after an offset, oldest first, at most `limit`."""
        log, meta, *_ = keys(session_id)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(meta, ["epoch", "offset", "start"])
            pipe.xrange(log, min=f"({after}-18446744073709551615", count=limit)
            (epoch, top, start), entries = pipe.execute()
        return Page(
            epoch or "",
            int(top or 0),
            None if start is None else int(start),
            [Event(int(entry.partition("-")[0]), at["type"], at["data"]) for entry, at in entries],
        )

    def tops(self, session_ids: Sequence[UUID]) -> list[int]:
        """The newest offsets of many logs, in one round trip; 0 where there is no log."""
        with self._redis.pipeline(transaction=False) as pipe:
            for session_id in session_ids:
                pipe.hget(keys(session_id).meta, "offset")
            return [int(top or 0) for top in pipe.execute()]

    def touch(self, session_id: UUID, expires_at: datetime) -> None:
        """Let the log live as long as its session, which has been extended."""
        self._touch(keys=keys(session_id), args=[_milliseconds(expires_at + MARGIN)])

    def close(self, session_id: UUID, reason: str) -> None:
        """The session is over: tell its readers, and forget the log and the words."""
        with self._redis.pipeline(transaction=True) as pipe:
            add_close(pipe, session_id, reason)
            pipe.execute()


def add_close(pipe: Pipeline, session_id: UUID, reason: str) -> None:
    """Add to a pipeline what `EventLog.close` does."""
    pipe.delete(*keys(session_id))
    pipe.publish(channel(session_id), json.dumps({"type": "expired", "data": json.dumps({"reason": reason})}))


def _check(code: int) -> None:
    if code == -1:
        raise Fenced
    if code == -2:
        raise LogLost
    if code == -3:
        raise EndedBefore


def _new_epoch() -> str:
    return os.urandom(4).hex()


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
