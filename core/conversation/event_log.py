"""One ordered, replayable log of events per session, in Redis.

A log is a few keys in one hash slot (core/conversation/keys.py). Each thing that is done to it is one Lua script
(core/conversation/event_log_scripts.py), so the event, the text it carries and its announcement are one step.
Announcements have the format of flask-sse's messages: a stock flask-sse reader on the same Redis sees the live events
too.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from core.conversation import event_log_scripts as scripts
from core.conversation.keys import channel, keys
from core.conversation.partial_answer import EMPTY, NOTHING, Delta, PartialAnswer, Size
from core.conversation.position import TERMINAL_SEQ, Position, Producer
from core.stores.redis import Pipeline, Redis, ScriptCall

MAX_EVENTS = 10_000
"""Events kept per session, about; older ones are trimmed, and a cursor before them is reset."""
TTL_MARGIN = timedelta(minutes=2)
"""How much longer than its session a log lives: the sweep removes it, this is for when no sweep runs."""
PAGE_SIZE = 500
"""Events read at once."""


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
    """The offset before the live generation's first event, or None when no generation is live."""
    events: Sequence[Event]


class Fenced(Exception):
    """The log refused an event: a newer attempt writes this generation."""


class EndedBefore(Exception):
    """The log refused to begin a generation: its end came first."""


class LogLost(Exception):
    """The log refused an event: Redis has lost it, or its newest part, or its session is gone."""


REFUSALS: Mapping[int, type[Exception]] = {
    scripts.FENCED: Fenced,
    scripts.LOG_LOST: LogLost,
    scripts.ENDED_BEFORE: EndedBefore,
}


class EventLog:
    """Appends to and reads from the logs.

    `expires_at` is always the session's. Every method raises Unavailable when Redis is away.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._scripts = scripts.LogScripts(redis)

    def append(self, session_id: UUID, kind: str, data: Mapping[str, Any], *, expires_at: datetime) -> Position:
        """Append an event of the session itself."""
        return appended(self._scripts.append(session_id, _announcement(session_id, kind, data, expires_at)))

    def begin(
        self,
        session_id: UUID,
        kind: str,
        data: Mapping[str, Any],
        producer: Producer,
        *,
        expires_at: datetime,
        answer: str,
        question: str = "",
    ) -> Position:
        """Append the first event of a generation, which is the live one from here on.

        Idempotent by the generation's id. `answer` is the stored form of the empty answer, `question` that of an
        anonymous session's question. Raises EndedBefore.
        """
        announcement = _announcement(session_id, kind, data, expires_at)
        return appended(self._scripts.begin(session_id, announcement, producer, scripts.Beginning(answer, question)))

    def write(
        self,
        session_id: UUID,
        kind: str,
        data: Mapping[str, Any],
        producer: Producer,
        *,
        expires_at: datetime,
        before: Size = EMPTY,
        delta: Delta = NOTHING,
    ) -> Position:
        """Append an event of the live generation, with what it adds to the answer.

        Idempotent by the producer. `before`: what the log must hold of the answer until then. Raises Fenced or
        LogLost.
        """
        announcement = _announcement(session_id, kind, data, expires_at)
        return appended(self._scripts.write(session_id, announcement, producer, before, delta))

    def write_call(
        self,
        session_id: UUID,
        kind: str,
        data: Mapping[str, Any],
        producer: Producer,
        *,
        expires_at: datetime,
        before: Size,
        delta: Delta,
    ) -> ScriptCall:
        """What `write` runs, for those who run many together; `appended` reads what it returns."""
        announcement = _announcement(session_id, kind, data, expires_at)
        return self._scripts.write.call(session_id, announcement, producer, before, delta)

    def end(
        self,
        session_id: UUID,
        kind: str,
        data: Mapping[str, Any],
        producer: Producer,
        *,
        expires_at: datetime,
        before: Size = EMPTY,
        message: str = "",
        retracts: str = "",
    ) -> Position:
        """Append the last event of a generation, after which none is live.

        Idempotent by the producer. `message` is the stored form of an anonymous session's answer; `retracts` is the
        id of its question, which goes if it is the newest message. A generation that has never begun ends without an
        event, and can't begin any more. Raises Fenced or LogLost.
        """
        announcement = _announcement(session_id, kind, data, expires_at)
        return appended(
            self._scripts.end(session_id, announcement, producer, before, scripts.Ending(message, retracts))
        )

    def take_over(self, session_id: UUID, generation_id: UUID, attempt: int) -> PartialAnswer:
        """Refuse all earlier attempts from now on, and return what they have left.

        Raises Fenced or LogLost.
        """
        code, *partial = self._scripts.take_over(session_id, Producer(generation_id, attempt, 0))
        _check(code)
        return PartialAnswer(*partial)

    def reset(
        self, session_id: UUID, generation_id: UUID, attempt: int, *, expires_at: datetime, answer: str
    ) -> None:
        """Begin the log of a live generation a second time, empty and in another epoch. Raises Fenced."""
        beginning = scripts.Reset(answer, _new_epoch(), _expiry(expires_at), TERMINAL_SEQ)
        _check(self._scripts.reset(session_id, Producer(generation_id, attempt, 0), beginning))

    def request_stop(self, session_id: UUID, generation_id: UUID) -> None:
        """Let the generation's worker know soon that it is to stop; the row decides."""
        self._scripts.request_stop(session_id, scripts.Target(generation_id))

    def stop_requested(self, session_id: UUID, generation_id: UUID) -> bool:
        """Whether the generation's worker is to stop."""
        return self._redis.hget(keys(session_id).meta, "stop") == str(generation_id)

    def add_stop_poll(self, pipe: Pipeline, session_id: UUID) -> None:
        """Add to a pipeline: the id of the generation whose worker is to stop, if any."""
        pipe.hget(keys(session_id).meta, "stop")

    def read(self, session_id: UUID, after: int, limit: int = PAGE_SIZE) -> Page:
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
        self._scripts.touch(session_id, scripts.Expiry(_expiry(expires_at)))

    def close(self, session_id: UUID, reason: str) -> None:
        """The session is over: tell its readers, and forget the log and the words."""
        with self._redis.pipeline(transaction=True) as pipe:
            add_close(pipe, session_id, reason)
            pipe.execute()


def add_close(pipe: Pipeline, session_id: UUID, reason: str) -> None:
    """Add to a pipeline what `EventLog.close` does."""
    pipe.delete(*keys(session_id))
    pipe.publish(channel(session_id), json.dumps({"type": "expired", "data": json.dumps({"reason": reason})}))


def _announcement(session_id: UUID, kind: str, data: Mapping[str, Any], expires_at: datetime) -> scripts.Announcement:
    text = json.dumps(data, separators=(",", ":"))
    return scripts.Announcement(kind, text, channel(session_id), _new_epoch(), MAX_EVENTS, _expiry(expires_at))


def appended(returned: tuple[int, str]) -> Position:
    """The place of an event, by what its script has returned. Raises Fenced, LogLost or EndedBefore."""
    offset, epoch = returned
    _check(offset)
    return Position(epoch, offset)


def _check(code: int) -> None:
    if code in REFUSALS:
        raise REFUSALS[code]


def _new_epoch() -> str:
    return os.urandom(4).hex()


def _expiry(expires_at: datetime) -> int:
    return int((expires_at + TTL_MARGIN).timestamp() * 1000)
