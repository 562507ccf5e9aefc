"""One ordered, replayable log of events per session, in Redis.

Four keys in one hash slot: the log itself (a stream), what is known of it (a hash, with the places of an anonymous
session's words by their ids), the answer being written (a string) and, for an anonymous session, its words (a list).
An append is one Lua script, so the event, the text it carries and its announcement are one step. Announcements have
the format of flask-sse's messages: a stock flask-sse reader on the same Redis sees the live events too.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast
from uuid import UUID

from redis import Redis
from redis.client import Pipeline
from redis.commands.core import Script

MAX_EVENTS = 10_000
"""Events kept per session, about; older ones are trimmed, and a cursor before them is reset."""
MARGIN = timedelta(minutes=2)
"""How much longer than its session a log lives: the sweep removes it, this is for when no sweep runs."""
PAGE = 500
"""Events read at once."""
LAST = 2**31
"""The sequence number of every generation's terminal event, so that the log takes one."""

APPEND = """
local log, meta, partial, words = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local kind, data, channel, new_epoch, max_events = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local expires, role = tonumber(ARGV[6]), ARGV[7]
local generation, attempt, seq = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
local text, word, answer, written, retracts = ARGV[11], ARGV[12], ARGV[13], tonumber(ARGV[14]), ARGV[15]

local known = redis.call('HMGET', meta, 'generation', 'attempt', 'seq', 'expires')
if role == 'begin' then
  -- A front end that did not see its answer begins again; the second time changes nothing.
  if known[1] == generation then
    return {(redis.call('HGET', meta, 'start') or 0) + 1, redis.call('HGET', meta, 'epoch')}
  end
  if redis.call('HEXISTS', meta, 'ended:' .. generation) == 1 then return {-3, ''} end
  redis.call('HSET', meta, 'generation', generation, 'attempt', attempt, 'seq', seq,
             'answer', answer, 'start', redis.call('HGET', meta, 'offset') or 0)
  redis.call('DEL', partial)
elseif role ~= '' then
  if known[1] ~= generation and role == 'end' and written == 0 then
    -- Nobody misses the end of what nobody has seen; but a front end that is late must not begin it any more.
    redis.call('HSET', meta, 'ended:' .. generation, 1)
    redis.call('PEXPIREAT', meta, math.max(expires, tonumber(known[4] or 0)))
    return {tonumber(redis.call('HGET', meta, 'offset') or 0), redis.call('HGET', meta, 'epoch') or ''}
  end
  if known[1] ~= generation then return {-2, ''} end
  -- Fencing: a newer attempt writes now.
  if tonumber(known[2]) > attempt then return {-1, ''} end
  -- A producer that did not see its answer sends again; the second time changes nothing.
  if tonumber(known[2]) == attempt and tonumber(known[3]) >= seq then
    return {tonumber(redis.call('HGET', meta, 'offset')), redis.call('HGET', meta, 'epoch')}
  end
  -- A Redis that came back with an older state has forgotten what readers have seen.
  if redis.call('STRLEN', partial) ~= written then return {-2, ''} end
  redis.call('HSET', meta, 'attempt', attempt, 'seq', seq)
end

redis.call('HSETNX', meta, 'epoch', new_epoch)
local epoch = redis.call('HGET', meta, 'epoch')
local offset = redis.call('HINCRBY', meta, 'offset', 1)
redis.call('XADD', log, 'MAXLEN', '~', max_events, offset .. '-0', 'type', kind, 'data', data)
if text ~= '' then redis.call('APPEND', partial, text) end
-- A word's place is kept apart, so that nobody has to look for it among the words, of which each may have megabytes.
if word ~= '' then
  local place, id = redis.call('RPUSH', words, word) - 1, string.match(word, '^{"id":"([^"]+)"')
  if id then redis.call('HINCRBY', meta, 'placed', redis.call('HSET', meta, 'place:' .. id, place)) end
end
if retracts ~= '' then
  local last = redis.call('LINDEX', words, -1)
  if last and string.match(last, '^{"id":"([^"]+)"') == retracts then
    redis.call('RPOP', words)
    redis.call('HINCRBY', meta, 'placed', -redis.call('HDEL', meta, 'place:' .. retracts))
  end
end
if role == 'end' then
  redis.call('DEL', partial)
  redis.call('HDEL', meta, 'answer', 'start')
end

expires = math.max(expires, tonumber(known[4] or 0))
redis.call('HSET', meta, 'expires', expires)
for i = 1, 4 do redis.call('PEXPIREAT', KEYS[i], expires) end

redis.call('PUBLISH', channel, cjson.encode({type = kind, data = data, id = epoch .. '-' .. offset}))
return {offset, epoch}
"""

TAKE_OVER = """
local known = redis.call('HMGET', KEYS[2], 'generation', 'attempt')
if known[1] ~= ARGV[1] then return {-2, ''} end
if tonumber(known[2]) > tonumber(ARGV[2]) then return {-1, ''} end
redis.call('HSET', KEYS[2], 'attempt', ARGV[2], 'seq', 0)
return {0, redis.call('GET', KEYS[3]) or ''}
"""

# Another epoch: readers of the lost log are told to read the conversation again. What Redis still has of the words
# of an anonymous session stays.
BEGIN_ANEW = """
local known = redis.call('HMGET', KEYS[2], 'generation', 'attempt', 'expires', 'seq')
-- Ids of a session's generations grow: a greater one is the next.
if known[1] and known[1] > ARGV[1] then return -1 end
if redis.call('HEXISTS', KEYS[2], 'ended:' .. ARGV[1]) == 1 then return -1 end
if known[1] == ARGV[1] then
  local attempt = tonumber(known[2])
  -- With the terminal event in it, there is nothing to begin.
  if attempt > tonumber(ARGV[2]) or (attempt == tonumber(ARGV[2]) and tonumber(known[4]) >= tonumber(ARGV[6])) then
    return -1
  end
end
redis.call('DEL', KEYS[1], KEYS[3])
redis.call('HSET', KEYS[2], 'generation', ARGV[1], 'attempt', ARGV[2], 'seq', 0, 'answer', ARGV[3], 'start', 0,
           'epoch', ARGV[4], 'offset', 0, 'expires', math.max(tonumber(ARGV[5]), tonumber(known[3] or 0)))
redis.call('PEXPIREAT', KEYS[2], redis.call('HGET', KEYS[2], 'expires'))
return 0
"""

REQUEST_STOP = """
if redis.call('HGET', KEYS[2], 'generation') == ARGV[1] then redis.call('HSET', KEYS[2], 'stop', ARGV[1]) end
"""

TOUCH = """
local expires = math.max(tonumber(ARGV[1]), tonumber(redis.call('HGET', KEYS[2], 'expires') or 0))
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HSET', KEYS[2], 'expires', expires) end
for i = 1, 4 do redis.call('PEXPIREAT', KEYS[i], expires) end
"""


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


def keys(session_id: UUID) -> tuple[str, str, str, str]:
    """The session's keys: log, meta, partial answer, words. One hash slot."""
    prefix = f"sb:{{{session_id}}}"
    return f"{prefix}:log", f"{prefix}:meta", f"{prefix}:partial", f"{prefix}:words"


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
    ) -> Position:
        """Append one event and announce it.

        `producer` and `role` ("begin", "write" or "end") tie it to a generation; `text` is added to the
        answer being written, of which there are `written` bytes of UTF-8, `word` to the words of an anonymous
        session, from which the newest one
        goes again if `retracts` is its id. `expires_at` is the session's. Raises Fenced, LogLost or EndedBefore.
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
                ],
            ),
        )
        _check(offset)
        return Position(epoch, offset)

    def take_over(self, session_id: UUID, generation_id: UUID, attempt: int) -> str:
        """Refuse all earlier attempts from now on, and return the text that they have left.

        Raises Fenced or LogLost.
        """
        code, text = cast(
            "tuple[int, str]", self._take_over(keys=keys(session_id), args=[str(generation_id), attempt])
        )
        _check(code)
        return text

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
        return self._redis.hget(keys(session_id)[1], "stop") == str(generation_id)

    def read(self, session_id: UUID, after: int, limit: int = PAGE) -> Page:
        """The events after an offset, oldest first, at most `limit`."""
        log, meta, _, _ = keys(session_id)
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
                pipe.hget(keys(session_id)[1], "offset")
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
