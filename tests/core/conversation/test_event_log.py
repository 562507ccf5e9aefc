import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import flask_sse
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from core.conversation.event_log import (
    LAST,
    EventLog,
    Fenced,
    LogLost,
    Position,
    Producer,
    Thought,
    Written,
    channel,
    keys,
)
from core.stores.redis import Redis
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for

LATER = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def log(redis: Redis) -> EventLog:
    return EventLog(redis)


def test_offsets_are_contiguous_within_an_epoch(log: EventLog) -> None:
    session_id = uuid7()
    positions = [log.append(session_id, "model", {"n": n}, expires_at=LATER) for n in range(5)]
    assert [position.offset for position in positions] == [1, 2, 3, 4, 5]
    assert len({position.epoch for position in positions}) == 1
    page = log.read(session_id, after=2)
    assert [(event.offset, json.loads(event.data)) for event in page.events] == [
        (3, {"n": 2}),
        (4, {"n": 3}),
        (5, {"n": 4}),
    ]
    assert (page.epoch, page.top) == (positions[0].epoch, 5)


def test_sessions_have_logs_of_their_own(log: EventLog) -> None:
    one, other = uuid7(), uuid7()
    log.append(one, "model", {}, expires_at=LATER)
    assert log.read(other, after=0).events == []
    assert log.read(other, after=0).epoch == ""


def test_an_older_attempt_is_refused(log: EventLog) -> None:
    session_id, generation = uuid7(), uuid7()
    log.append(session_id, "queued", {}, expires_at=LATER, producer=Producer(generation, 0, 0), role="begin")
    log.append(session_id, "delta", {}, expires_at=LATER, producer=Producer(generation, 2, 1), role="write")
    with pytest.raises(Fenced):
        log.append(session_id, "delta", {}, expires_at=LATER, producer=Producer(generation, 1, 9), role="write")
    assert log.read(session_id, after=0).top == 2


def test_another_generation_and_a_deleted_session_are_refused(log: EventLog, redis: Redis) -> None:
    session_id, generation = uuid7(), uuid7()
    log.append(session_id, "queued", {}, expires_at=LATER, producer=Producer(generation, 0, 0), role="begin")
    with pytest.raises(LogLost):
        log.append(session_id, "delta", {}, expires_at=LATER, producer=Producer(uuid7(), 1, 1), role="write")
    log.close(session_id, "deleted")
    with pytest.raises(LogLost):
        log.append(session_id, "delta", {}, expires_at=LATER, producer=Producer(generation, 1, 1), role="write")
    assert redis.keys() == []


def test_a_repeated_append_changes_nothing(log: EventLog, redis: Redis) -> None:
    session_id, generation = uuid7(), uuid7()
    log.append(session_id, "queued", {}, expires_at=LATER, producer=Producer(generation, 0, 0), role="begin")
    for _ in range(3):
        log.append(
            session_id, "delta", {}, expires_at=LATER, producer=Producer(generation, 1, 1), role="write", text="once"
        )
    assert log.read(session_id, after=0).top == 2
    assert redis.get(keys(session_id)[2]) == "once"


def test_a_log_that_has_lost_its_newest_words_takes_no_more(log: EventLog, redis: Redis) -> None:
    session_id, generation = uuid7(), uuid7()
    log.append(session_id, "queued", {}, expires_at=LATER, producer=Producer(generation, 0, 0), role="begin")
    log.append(
        session_id, "delta", {}, expires_at=LATER, producer=Producer(generation, 1, 1), role="write", text="Grüße"
    )
    redis.set(keys(session_id)[2], "Gr")
    for role in ("write", "end"):
        with pytest.raises(LogLost):
            log.append(
                session_id, "e", {}, expires_at=LATER, producer=Producer(generation, 1, 2), role=role, written=7
            )
    assert log.read(session_id, after=0).top == 2


def test_a_log_begun_anew_has_another_epoch_and_is_refused_to_older_attempts_and_answers(
    log: EventLog, redis: Redis
) -> None:
    session_id, generation = uuid7(), uuid7()
    before = log.append(session_id, "queued", {}, expires_at=LATER, producer=Producer(generation, 2, 0), role="begin")
    with pytest.raises(Fenced):
        log.begin_anew(session_id, generation, 1, expires_at=LATER, answer="{}")
    log.begin_anew(session_id, generation, 2, expires_at=LATER, answer="{}")
    after = log.append(session_id, "e", {}, expires_at=LATER, producer=Producer(generation, 2, 1), role="write")
    assert (after.epoch != before.epoch, after.offset) == (True, 1)
    assert all(redis.pttl(str(key)) > 0 for key in redis.scan_iter())
    log.append(session_id, "queued", {}, expires_at=LATER, producer=Producer(uuid7(), 0, 0), role="begin")
    with pytest.raises(Fenced):
        log.begin_anew(session_id, generation, 2, expires_at=LATER, answer="{}")


def test_everything_has_a_lifetime_that_only_grows(log: EventLog, redis: Redis) -> None:
    session_id, generation = uuid7(), uuid7()
    producer = Producer(generation, 0, 0)
    log.append(session_id, "queued", {}, expires_at=LATER, producer=producer, role="begin", word="{}", text="t")
    write = {"expires_at": LATER, "producer": Producer(generation, 1, 1), "role": "write", "written": 1}
    log.append(session_id, "thinking", {}, **write, thought=Thought("Hmm"))
    log.append(session_id, "model", {}, expires_at=LATER - timedelta(minutes=30))
    log.touch(session_id, LATER - timedelta(minutes=20))
    for key in keys(session_id):
        assert redis.pexpiretime(key) >= LATER.timestamp() * 1000
    log.touch(session_id, LATER + timedelta(hours=1))
    for key in keys(session_id):
        assert redis.pexpiretime(key) >= (LATER + timedelta(hours=1)).timestamp() * 1000


def test_touching_a_session_without_events_leaves_no_keys(log: EventLog, redis: Redis) -> None:
    log.touch(uuid7(), LATER)
    assert redis.keys() == []


def test_a_stock_flask_sse_reader_sees_the_live_events(log: EventLog, valkey: Valkey, redis: Redis) -> None:
    session_id = uuid7()
    app = Flask("stock")
    app.config["REDIS_URL"] = valkey.url
    with app.app_context():
        messages = flask_sse.sse.messages(channel=channel(session_id))

        got: list[flask_sse.Message] = []
        reader = threading.Thread(target=lambda: _read(app, messages, got))
        reader.start()
        wait_for(lambda: redis.pubsub_numsub(channel(session_id))[0][1])
        position = log.append(session_id, "delta", {"text": "Zürich\u2028🎉\n"}, expires_at=LATER)
        reader.join(5)
    assert [(message.type, message.id) for message in got] == [("delta", str(position))]
    assert json.loads(got[0].data) == {"text": "Zürich\u2028🎉\n"}
    lines = str(got[0]).rstrip("\n").split("\n")
    assert [line.partition(":")[0] for line in lines] == ["event", "data", "id"]


def _read(app: Flask, messages: object, got: list[flask_sse.Message]) -> None:
    with app.app_context():
        got.append(next(messages))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "text", ["", "-", "abc", "abc-", "-1", "abc--1", "abc-1.5", "a b-1", "é-1", "abc-\u0661", "a" * 50 + "-1"]
)
def test_what_is_no_position_is_none(text: str) -> None:
    assert Position.parse(text) is None


@given(offset=st.integers(min_value=0, max_value=2**53))
def test_a_position_survives_its_wire_form(offset: int) -> None:
    assert Position.parse(str(Position("a1b2c3d4", offset))) == Position("a1b2c3d4", offset)


def test_a_generation_that_is_begun_twice_has_begun_once(log: EventLog, redis: Redis) -> None:
    session_id, generation = uuid7(), uuid7()
    begin = {"expires_at": LATER, "producer": Producer(generation, 0, 1), "role": "begin", "word": "Why?"}
    log.append(session_id, "model", {}, expires_at=LATER)
    first = log.append(session_id, "queued", {}, **begin)
    log.append(
        session_id, "delta", {}, expires_at=LATER, producer=Producer(generation, 1, 1), role="write", text="Because"
    )
    assert log.append(session_id, "queued", {}, **begin) == first
    assert redis.lrange(keys(session_id)[3], 0, -1) == ["Why?"]
    assert log.take_over(session_id, generation, 2).text == "Because"
    assert log.read(session_id, after=0).top == 3


def test_thinking_is_added_begun_again_taken_over_and_gone_with_the_end(log: EventLog, redis: Redis) -> None:
    session_id, generation = uuid7(), uuid7()
    thinking = keys(session_id).thinking
    log.append(session_id, "queued", {}, expires_at=LATER, producer=Producer(generation, 0, 0), role="begin")

    def append(kind: str, seq: int, thought: Thought, attempt: int = 1, role: str = "write", **more: Any) -> None:
        producer = Producer(generation, attempt, seq)
        log.append(session_id, kind, {}, expires_at=LATER, producer=producer, role=role, thought=thought, **more)

    append("thinking", 1, Thought("Grü", lasted=100))
    append("thinking", 2, Thought("ße", before=4, lasted=1500))
    append("thinking", 2, Thought("ße", before=4))  # told twice, for it was not answered
    assert log.take_over(session_id, generation, 2) == Written("", "Grüße", 1500)
    with pytest.raises(Fenced):
        append("thinking", 3, Thought("!", before=7))
    append("thinking", 1, Thought("Anew", before=7, forgets=True, lasted=10), attempt=2)
    assert redis.get(thinking) == "Anew"
    redis.set(thinking, "An")  # as a Redis that comes back with what it had
    for role in ("write", "end"):
        with pytest.raises(LogLost):
            append("e", 2, Thought(before=4), attempt=2, role=role)
    redis.set(thinking, "Anew")
    append("delta", 2, Thought(before=4, lasted=20), attempt=2, text="So")
    append("done", 3, Thought(before=4), attempt=2, role="end", written=2)
    assert not redis.exists(thinking)
    assert redis.hget(keys(session_id).meta, "thought_for") is None


@pytest.mark.parametrize("begin", ["next", "anew"])
def test_no_thinking_of_an_earlier_beginning_is_left(log: EventLog, redis: Redis, begin: str) -> None:
    session_id, first, second = uuid7(), uuid7(), uuid7()
    start = {"expires_at": LATER, "role": "begin"}
    log.append(session_id, "queued", {}, producer=Producer(first, 0, 0), **start)
    thought = {"expires_at": LATER, "role": "write", "thought": Thought("Hmm", lasted=2000)}
    log.append(session_id, "thinking", {}, producer=Producer(first, 1, 1), **thought)
    if begin == "next":
        log.append(session_id, "queued", {}, producer=Producer(second, 0, 0), **start)
        assert log.take_over(session_id, second, 1) == Written()
    else:
        log.begin_anew(session_id, first, 2, expires_at=LATER, answer="{}")
        assert log.take_over(session_id, first, 2) == Written()
    assert not redis.exists(keys(session_id).thinking)


def test_the_end_of_what_only_thought_is_not_the_end_of_what_nobody_has_seen(log: EventLog) -> None:
    session_id, generation = uuid7(), uuid7()
    end = {"expires_at": LATER, "producer": Producer(generation, 1, LAST), "role": "end"}
    with pytest.raises(LogLost):
        log.append(session_id, "stopped", {}, **end, thought=Thought(before=3))
    log.append(session_id, "stopped", {}, **end)
    assert log.read(session_id, after=0).events == []
