"""Where an answer's events lie in its session's log."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from core.conversation import extent
from core.conversation.event_log import AnswerEvent, EventLog
from core.conversation.extent import Extents
from core.conversation.keys import keys
from core.conversation.partial_answer import Delta, PartialAnswer
from core.conversation.position import Position, Producer
from core.stores.redis import Redis

LATER = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def log(redis: Redis) -> EventLog:
    return EventLog(redis)


def _begin(log: EventLog, session_id: UUID, generation_id: UUID) -> Position:
    """Announce an answer: `queued`, twice, and a switch of the model."""
    data = {"generation_id": str(generation_id), "position": 1}
    begun = log.begin(
        session_id, "queued", data, Producer.queued(generation_id, 1), expires_at=LATER, answer='{"id": 1}'
    )
    log.append(session_id, "model", {"model": "good"}, expires_at=LATER)
    log.write(AnswerEvent(session_id, "queued", data, Producer.queued(generation_id, 0), expires_at=LATER))
    return Position(begun.epoch, begun.offset - 1)


def _write(log: EventLog, session_id: UUID, generation_id: UUID, words: int, seq: int = 1) -> None:
    text = ""
    for number in range(words):
        data = {"generation_id": str(generation_id), "at": len(text), "text": "x"}
        written = AnswerEvent(
            session_id,
            "delta",
            data,
            Producer(generation_id, 1, seq + number),
            LATER,
            PartialAnswer(text).size,
            Delta("x"),
        )
        log.write(written)
        text += "x"
    end = Producer.terminal(generation_id, 1)
    log.end(
        session_id,
        "done",
        {"generation_id": str(generation_id)},
        end,
        expires_at=LATER,
        before=PartialAnswer(text).size,
    )


def test_answers_are_found_while_they_are_written_and_after_others_have_followed(
    log: EventLog, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extent, "PAGE_SIZE", 3)  # so that looking takes several pages
    extents, session_id = Extents(redis), uuid7()
    log.append(session_id, "model", {"model": "good"}, expires_at=LATER)
    found = []
    for words in (4, 1, 7):
        generation_id = uuid7()
        before = _begin(log, session_id, generation_id)
        live = extents.find(session_id, generation_id)
        assert live is not None
        assert (live.before, live.end, live.whole) == (before, None, True)
        _write(log, session_id, generation_id, words)
        log.append(session_id, "model", {"model": "good"}, expires_at=LATER)
        found.append((generation_id, before, before.offset + 3 + words + 1))
    for generation_id, before, end in found:
        ended = extents.find(session_id, generation_id)
        assert ended is not None
        assert (ended.before, ended.end, ended.whole) == (before, end, True)
    assert extents.find(session_id, uuid7()) is None
    assert extents.find(uuid7(), found[0][0]) is None


def test_a_log_that_was_begun_again_is_told_apart(log: EventLog, redis: Redis) -> None:
    extents, session_id, generation_id = Extents(redis), uuid7(), uuid7()
    _begin(log, session_id, generation_id)
    redis.flushall()
    log.reset(session_id, generation_id, 1, expires_at=LATER, answer='{"id": 1}')
    live = extents.find(session_id, generation_id)
    assert live is not None
    assert not live.whole
    _write(log, session_id, generation_id, 2)
    ended = extents.find(session_id, generation_id)
    assert ended is not None
    assert (ended.before.offset, ended.end, ended.whole) == (0, 3, False)


def test_an_answer_whose_beginning_is_trimmed_is_not_found_by_a_later_event(log: EventLog, redis: Redis) -> None:
    extents, session_id, generation_id = Extents(redis), uuid7(), uuid7()
    log.append(session_id, "model", {"model": "good"}, expires_at=LATER)
    _begin(log, session_id, generation_id)
    _write(log, session_id, generation_id, 2)
    redis.xtrim(keys(session_id).log, minid="4-0", approximate=False)  # the second `queued` is the first that is left
    assert extents.find(session_id, generation_id) is None


def test_damage_is_no_extent(log: EventLog, redis: Redis) -> None:
    extents, session_id, generation_id = Extents(redis), uuid7(), uuid7()
    _begin(log, session_id, generation_id)
    redis.hset(keys(session_id).meta, "offset", "many")
    assert extents.find(session_id, generation_id) is None
    redis.set(keys(session_id).meta, "x")
    assert extents.find(session_id, generation_id) is None
