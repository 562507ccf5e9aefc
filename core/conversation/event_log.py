"""One ordered, replayable log of events per session, in Redis.

A log is a few keys in one hash slot (core/conversation/keys.py). Each thing that is done to it is one Lua script
(core/conversation/event_log_scripts.py), so the event, the text it carries and its announcement are one step.
Announcements have the format of flask-sse's messages: a stock flask-sse reader on the same Redis sees the live events
too.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

from core.conversation import event_log_scripts as scripts
from core.conversation.damage import Damaged, decode, number, pass_over, unless_damaged
from core.conversation.keys import channel, keys
from core.conversation.partial_answer import EMPTY, NO_WORDS, NOTHING, Delta, PartialAnswer, Size
from core.conversation.position import TERMINAL_SEQ, Position, Producer
from core.stores.redis import Pipeline, Redis, RedisDamaged, ScriptCall

MAX_EVENTS = 10_000
"""Events kept per session, about; older ones are trimmed, and a cursor before them is reset."""
TTL_MARGIN = timedelta(minutes=2)
"""How much longer than its session a log lives: the sweep removes it, this is for when no sweep runs."""
PAGE_SIZE = 500
"""Events read at once."""
CLOSED_AT_ONCE = 50
"""Sessions whose keys one command removes: half a millisecond of the server's, which does nothing else meanwhile."""
DAMAGED = json.dumps({"reason": "log-damaged"})
"""The data of the `reset` that stands for a damaged event."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Event(NamedTuple):
    """One event of a log. `data` is JSON text, ASCII only, so no line break can end it early."""

    offset: int
    type: str
    data: str


class AnswerEvent(NamedTuple):
    """An event of the live generation, with what it adds to the answer."""

    session_id: UUID
    type: str
    data: Mapping[str, Any]
    producer: Producer
    expires_at: datetime
    before: Size = EMPTY
    """What the log must hold of the answer until then."""
    delta: Delta = NOTHING


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


class Reading(NamedTuple):
    """What is wanted of a log."""

    session_id: UUID
    after: int
    """An offset."""
    limit: int = PAGE_SIZE


class Fenced(Exception):
    """The log refused an event: a newer attempt writes this generation."""


class EndedBefore(Exception):
    """The log refused to begin a generation: its end came first."""


class MovedOn(Exception):
    """The log refused to turn to a branch: something is being written, or has been meanwhile."""


class LogLost(Exception):
    """The log refused an event: Redis has lost it, or its newest part, or it is damaged, or its session is gone."""


REFUSALS: Mapping[int, type[Exception]] = {
    scripts.FENCED: Fenced,
    scripts.LOG_LOST: LogLost,
    scripts.ENDED_BEFORE: EndedBefore,
    scripts.MOVED_ON: MovedOn,
}


class EventLog:
    """Appends to and reads from the logs.

    `expires_at` is always the session's. Every method raises Unavailable when Redis is away.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._scripts = scripts.LogScripts(redis)
        self._announce = redis.register_script(scripts.ANNOUNCE)

    def append(self, session_id: UUID, kind: str, data: Mapping[str, Any], *, expires_at: datetime) -> Position:
        """Append an event of the session itself."""
        announcement = _announcement(session_id, kind, data, expires_at)
        return appended(self._scripts.append(session_id, announcement, scripts.NewLog(_new_epoch())))

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
        kept: PartialAnswer = NO_WORDS,
        leaf: str = "",
    ) -> Position:
        """Append the first event of a generation, which is the live one from here on.

        Idempotent by the generation's id. `answer` is the stored form of the answer without its words, `question`
        that of an anonymous session's new question, `kept` what there is of the answer, `leaf` the answer's id if an
        anonymous session's goes on. Raises EndedBefore.
        """
        announcement = _announcement(session_id, kind, data, expires_at)
        new, beginning = scripts.NewLog(_new_epoch()), scripts.Beginning(answer, question, *kept, leaf)
        return appended(self._scripts.begin(session_id, announcement, new, producer, beginning))

    def turn_to(
        self, session_id: UUID, kind: str, data: Mapping[str, Any], leaf: UUID, newest: UUID, *, expires_at: datetime
    ) -> Position:
        """Make the branch that ends with `leaf` an anonymous session's current one, and append an event that says so.
        `newest` is the newest message, as far as the caller knows. Raises MovedOn."""
        announcement = _announcement(session_id, kind, data, expires_at)
        turn = scripts.Turn(str(leaf), str(newest))
        return appended(self._scripts.turn_to(session_id, announcement, scripts.NewLog(_new_epoch()), turn))

    def write(self, event: AnswerEvent) -> Position:
        """Append an event of the live generation, with what it adds to the answer.

        Idempotent by the producer. Raises Fenced or LogLost.
        """
        try:
            returned = self._scripts.write(*_arguments(event))
        except RedisDamaged:
            raise LogLost from None
        return appended(returned)

    def write_call(self, event: AnswerEvent) -> ScriptCall:
        """What `write` runs, for those who run many together; `appended` reads what it returns."""
        return self._scripts.write.call(*_arguments(event))

    def hand_over(self, event: AnswerEvent, answer: str) -> Position:
        """Append an event of the live generation with which another model carries on. `answer` is the stored form of
        the empty answer from here on. Idempotent by the producer. Raises Fenced or LogLost."""
        return appended(self._scripts.hand_over(*_arguments(event), scripts.Carrying(answer)))

    def live_answer(self, session_id: UUID) -> str | None:
        """The stored form of the empty answer that is being written."""
        try:
            answer = self._redis.hget(keys(session_id).meta, "answer")
            return None if answer is None else str(answer)
        except RedisDamaged:
            return None

    def rename_model(self, session_id: UUID, generation_id: UUID, answer: str) -> None:
        """Another model is to write the live generation, of which nothing is written: `answer` is the stored form of
        the empty answer."""
        self._scripts.rename_model(session_id, scripts.Target(generation_id), scripts.Carrying(answer))

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
        self,
        session_id: UUID,
        generation_id: UUID,
        attempt: int,
        *,
        expires_at: datetime,
        answer: str,
        waited: bool = False,
    ) -> None:
        """Begin the log of a live generation a second time, empty and in another epoch. Raises Fenced."""
        beginning = scripts.Reset(answer, _new_epoch(), expiry(expires_at), TERMINAL_SEQ, waited)
        _check(self._scripts.reset(session_id, Producer(generation_id, attempt, 0), beginning))

    def request_stop(self, session_id: UUID, generation_id: UUID) -> None:
        """Let the generation's worker know soon that it is to stop; the row decides."""
        self._scripts.request_stop(session_id, scripts.Target(generation_id))

    def request_handover(self, session_id: UUID, generation_id: UUID) -> None:
        """Let the generation's worker know soon that another model is to carry on; the row decides."""
        self._scripts.request_handover(session_id, scripts.Target(generation_id))

    def add_forget_handover(self, pipe: Pipeline, session_id: UUID) -> None:
        """Add to a pipeline: the worker has heard that the row has something to say of a handover."""
        pipe.hdel(keys(session_id).meta, "handover")

    def keep_waiting(self, session_id: UUID, words_id: UUID, words: str, *, expires_at: datetime) -> None:
        """Keep the words of an anonymous session's question that waits, as long as the session."""
        self._scripts.keep_waiting(
            session_id, scripts.WaitingWords(words_id, words), scripts.Expiry(expiry(expires_at))
        )

    def waiting_words(self, session_id: UUID, words_ids: Sequence[UUID]) -> list[str | None]:
        """The words of questions that wait; None where Redis has lost them."""
        if not words_ids:
            return []
        try:
            found = self._redis.hmget(keys(session_id).meta, [f"waiting:{each}" for each in words_ids])
        except RedisDamaged:
            return [None] * len(words_ids)
        return [None if each is None else str(each) for each in found]

    def forget_waiting(self, session_id: UUID, words_ids: Sequence[UUID]) -> None:
        """Forget the words of questions that wait no more."""
        if words_ids:
            with suppress(RedisDamaged):
                self._redis.hdel(keys(session_id).meta, *[f"waiting:{each}" for each in words_ids])

    def stop_requested(self, session_id: UUID, generation_id: UUID) -> bool:
        """Whether the generation's worker is to stop."""
        try:
            return self._redis.hget(keys(session_id).meta, "stop") == str(generation_id)
        except RedisDamaged:
            return False  # the next word resets the log, and the row decides

    def add_request_poll(self, pipe: Pipeline, session_id: UUID) -> None:
        """Add to a pipeline: the id of the generation whose worker is to stop, if any, and that of the one whose row
        has something to say of a handover."""
        pipe.hmget(keys(session_id).meta, ["stop", "handover"])

    def read(self, session_id: UUID, after: int, limit: int = PAGE_SIZE) -> Page:
        """The events after an offset, oldest first, at most `limit`. One that is damaged is read as `reset`: its
        readers are to read the conversation. Where the meta is damaged, there is no log."""
        return self.read_many([Reading(session_id, after, limit)])[0]

    def read_many(self, readings: Sequence[Reading]) -> list[Page]:
        """A page of each of many logs, in one round trip; each as `read` has it."""
        with self._redis.pipeline(transaction=True) as pipe:
            for session_id, after, limit in readings:
                log, meta, *_ = keys(session_id)
                pipe.hmget(meta, ["epoch", "offset", "start"])
                pipe.xrange(log, min=f"({after}-18446744073709551615", count=limit)
            answers = pipe.execute_each()
        return [
            _page(reading.session_id, known, found)
            for reading, known, found in zip(readings, answers[::2], answers[1::2], strict=True)
        ]

    def tops(self, session_ids: Sequence[UUID]) -> list[int]:
        """The newest offsets of many logs, in one round trip; 0 where there is no log."""
        with self._redis.pipeline(transaction=False) as pipe:
            for session_id in session_ids:
                pipe.hget(keys(session_id).meta, "offset")
            return [_top(stored) for stored in pipe.execute_each()]

    def touch(self, session_id: UUID, expires_at: datetime) -> None:
        """Let the log live as long as its session, which has been extended."""
        self._scripts.touch(session_id, scripts.Expiry(expiry(expires_at)))

    def close(self, session_id: UUID, reason: str) -> None:
        """The session is over: tell its readers, and forget the log and the words."""
        with self._redis.pipeline(transaction=True) as pipe:
            self.add_close(pipe, [session_id], reason)
            pipe.execute()

    def add_close(self, pipe: Pipeline, session_ids: Sequence[UUID | str], reason: str) -> None:
        """Add to a pipeline what `close` does, for many sessions that are over for the same reason."""
        # Many in one command: the driver takes longer over a command than the server over its keys.
        for some in range(0, len(session_ids), CLOSED_AT_ONCE):
            pipe.unlink(*chain.from_iterable(map(keys, session_ids[some : some + CLOSED_AT_ONCE])))
        message = json.dumps({"type": "expired", "data": json.dumps({"reason": reason})})
        self._announce(args=[message, *map(channel, session_ids)], client=pipe)


def _page(session_id: UUID, known: Any, found: Any) -> Page:
    epoch, offset, before_live = unless_damaged(known, (None,) * 3, session_id, "meta")
    entries = unless_damaged(found, [], session_id, "log")
    try:
        top = Position.of(epoch, offset)
    except Damaged as kind:
        pass_over(session_id, "meta", kind)
        top = None
    if top is None:
        return Page("", 0, None, [])
    try:
        start = number(before_live)
    except Damaged as kind:
        pass_over(session_id, "start", kind)
        start = None
    return Page(top.epoch, top.offset, start, list(_events(session_id, entries, top.offset)))


def _events(session_id: UUID, entries: Sequence[tuple[str, Mapping[str, str]]], top: int) -> Iterator[Event]:
    for entry, fields in entries:
        at, _, rest = entry.partition("-")
        if rest != "0" or int(at) > top:
            pass_over(session_id, f"event {entry}", Damaged("not the log's own"))
            continue
        try:
            yield _event(int(at), fields)
        except Damaged as kind:
            pass_over(session_id, f"event {entry}", kind)
            yield Event(int(at), "reset", DAMAGED)


def _event(offset: int, fields: Mapping[str, str]) -> Event:
    kind, data = fields.get("type", ""), fields.get("data", "")
    if not (kind.isascii() and kind.isidentifier() and data.isascii()):
        raise Damaged("no event")
    decode(data)
    return Event(offset, kind, data)


def _top(stored: str | RedisDamaged | None) -> int:
    try:
        return 0 if isinstance(stored, RedisDamaged) else number(stored) or 0
    except Damaged:
        return 0


def _announcement(session_id: UUID, kind: str, data: Mapping[str, Any], expires_at: datetime) -> scripts.Announcement:
    text = _encode(data)
    return scripts.Announcement(kind, text, channel(session_id), MAX_EVENTS, expiry(expires_at))


def _arguments(event: AnswerEvent) -> tuple[UUID, scripts.Announcement, Producer, Size, Delta]:
    """What the script of a write is called with."""
    announcement = _announcement(event.session_id, event.type, event.data, event.expires_at)
    return event.session_id, announcement, event.producer, event.before, event.delta


def appended(returned: tuple[int, str]) -> Position:
    """The place of an event, by what its script has returned. Raises Fenced, LogLost, EndedBefore or MovedOn."""
    offset, epoch = returned
    _check(offset)
    return Position(epoch, offset)


def _check(code: int) -> None:
    if code in REFUSALS:
        raise REFUSALS[code]


def _new_epoch() -> str:
    return os.urandom(4).hex()


def expiry(expires_at: datetime) -> int:
    """When the keys of a session that expires then do: Unix time in milliseconds."""
    return int((expires_at + TTL_MARGIN).timestamp() * 1000)
