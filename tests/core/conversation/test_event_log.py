import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import flask_sse
import pytest
from flask import Flask
from uuid_utils.compat import uuid7

from core.conversation.event_log import AnswerEvent, EventLog, Fenced, LogLost
from core.conversation.keys import channel, keys
from core.conversation.partial_answer import NOTHING, Delta, PartialAnswer, Size
from core.conversation.position import Producer
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
    log.begin(session_id, "queued", {}, Producer(generation, 0, 0), expires_at=LATER, answer="{}")
    log.write(AnswerEvent(session_id, "delta", {}, Producer(generation, 2, 1), expires_at=LATER))
    with pytest.raises(Fenced):
        log.write(AnswerEvent(session_id, "delta", {}, Producer(generation, 1, 9), expires_at=LATER))
    assert log.read(session_id, after=0).top == 2


def test_another_generation_and_a_deleted_session_are_refused(log: EventLog, redis: Redis) -> None:
    session_id, generation = uuid7(), uuid7()
    log.begin(session_id, "queued", {}, Producer(generation, 0, 0), expires_at=LATER, answer="{}")
    with pytest.raises(LogLost):
        log.write(AnswerEvent(session_id, "delta", {}, Producer(uuid7(), 1, 1), expires_at=LATER))
    log.close(session_id, "deleted")
    with pytest.raises(LogLost):
        log.write(AnswerEvent(session_id, "delta", {}, Producer(generation, 1, 1), expires_at=LATER))
    assert redis.keys() == []


def test_a_repeated_append_changes_nothing(log: EventLog, redis: Redis) -> None:
    session_id, generation = uuid7(), uuid7()
    log.begin(session_id, "queued", {}, Producer(generation, 0, 0), expires_at=LATER, answer="{}")
    for _ in range(3):
        log.write(
            AnswerEvent(session_id, "delta", {}, Producer(generation, 1, 1), expires_at=LATER, delta=Delta("once"))
        )
    assert log.read(session_id, after=0).top == 2
    assert redis.get(keys(session_id)[2]) == "once"


def test_a_log_that_has_lost_its_newest_words_takes_no_more(log: EventLog, redis: Redis) -> None:
    session_id, generation = uuid7(), uuid7()
    log.begin(session_id, "queued", {}, Producer(generation, 0, 0), expires_at=LATER, answer="{}")
    log.write(
        AnswerEvent(session_id, "delta", {}, Producer(generation, 1, 1), expires_at=LATER, delta=Delta("Grüße"))
    )
    redis.set(keys(session_id)[2], "Gr")
    next_one = Producer(generation, 1, 2)
    with pytest.raises(LogLost):
        log.write(AnswerEvent(session_id, "e", {}, next_one, expires_at=LATER, before=Size(7)))
    with pytest.raises(LogLost):
        log.end(session_id, "e", {}, next_one, expires_at=LATER, before=Size(7))
    assert log.read(session_id, after=0).top == 2


@pytest.mark.parametrize("left", ["Gr", "", "Grüße, and more"])
@pytest.mark.parametrize(("name", "more"), [("partial", Delta("!")), ("thinking", Delta(thinking="!"))])
def test_words_that_are_refused_leave_what_there_is_as_it_was(
    log: EventLog, redis: Redis, name: str, more: Delta, left: str
) -> None:
    session_id, generation = uuid7(), uuid7()
    key = getattr(keys(session_id), name)
    log.begin(session_id, "queued", {}, Producer(generation, 0, 0), expires_at=LATER, answer="{}")
    both = Delta("Grüße", "Grüße")
    log.write(AnswerEvent(session_id, "delta", {}, Producer(generation, 1, 1), expires_at=LATER, delta=both))
    redis.delete(key)
    redis.append(key, left)
    with pytest.raises(LogLost):
        log.write(
            AnswerEvent(
                session_id, "e", {}, Producer(generation, 1, 2), expires_at=LATER, before=Size(7, 7), delta=more
            )
        )
    assert (redis.get(key) or "", log.read(session_id, after=0).top) == (left, 2)


@pytest.mark.parametrize("more", [Delta("Grüße"), Delta(thinking="Hmm", thinking_ms=10)])
def test_words_cost_six_commands(log: EventLog, redis: Redis, more: Delta) -> None:
    session_id, generation = uuid7(), uuid7()
    log.begin(session_id, "queued", {}, Producer(generation, 0, 0), expires_at=LATER, answer="{}")
    log.write(AnswerEvent(session_id, "delta", {}, Producer(generation, 1, 1), expires_at=LATER, delta=more))
    before = PartialAnswer(more.text, more.thinking).size
    redis.config_resetstat()
    log.write(
        AnswerEvent(session_id, "delta", {}, Producer(generation, 1, 2), expires_at=LATER, before=before, delta=more)
    )
    calls = {name: stats["calls"] for name, stats in redis.info("commandstats").items()}
    assert calls.pop("cmdstat_evalsha") == 1
    assert sum(calls.values()) - calls.get("cmdstat_config|resetstat", 0) <= 6


def test_a_log_begun_anew_has_another_epoch_and_is_refused_to_older_attempts_and_answers(
    log: EventLog, redis: Redis
) -> None:
    session_id, generation = uuid7(), uuid7()
    before = log.begin(session_id, "queued", {}, Producer(generation, 2, 0), expires_at=LATER, answer="{}")
    with pytest.raises(Fenced):
        log.reset(session_id, generation, 1, expires_at=LATER, answer="{}")
    log.reset(session_id, generation, 2, expires_at=LATER, answer="{}")
    after = log.write(AnswerEvent(session_id, "e", {}, Producer(generation, 2, 1), expires_at=LATER))
    assert (after.epoch != before.epoch, after.offset) == (True, 1)
    assert all(redis.pttl(str(key)) > 0 for key in redis.scan_iter())
    log.begin(session_id, "queued", {}, Producer(uuid7(), 0, 0), expires_at=LATER, answer="{}")
    with pytest.raises(Fenced):
        log.reset(session_id, generation, 2, expires_at=LATER, answer="{}")


def test_everything_has_a_lifetime_that_only_grows(log: EventLog, redis: Redis) -> None:
    session_id, generation = uuid7(), uuid7()
    names = keys(session_id)
    of_the_log = (names.log, names.meta, names.partial, names.words, names.thinking)
    log.begin(session_id, "queued", {}, Producer(generation, 0, 0), expires_at=LATER, answer="{}", question="{}")
    log.write(
        AnswerEvent(session_id, "delta", {}, Producer(generation, 1, 1), expires_at=LATER, delta=Delta("t", "Hmm"))
    )
    log.append(session_id, "model", {}, expires_at=LATER - timedelta(minutes=30))
    log.touch(session_id, LATER - timedelta(minutes=20))
    for key in of_the_log:
        assert redis.pexpiretime(key) >= LATER.timestamp() * 1000
    log.touch(session_id, LATER + timedelta(hours=1))
    for key in of_the_log:
        assert redis.pexpiretime(key) >= (LATER + timedelta(hours=1)).timestamp() * 1000
    log.write(
        AnswerEvent(
            session_id, "e", {}, Producer(generation, 1, 2), expires_at=LATER + timedelta(hours=2), before=Size(1, 3)
        )
    )
    for key in of_the_log:
        assert redis.pexpiretime(key) >= (LATER + timedelta(hours=2)).timestamp() * 1000


@pytest.mark.parametrize("begun_by", ["begin", "reset"])
def test_keys_that_come_late_live_as_long_as_the_others(log: EventLog, redis: Redis, begun_by: str) -> None:
    session_id, generation, before = uuid7(), uuid7(), Size()
    log.begin(session_id, "queued", {}, Producer(generation, 1, 0), expires_at=LATER, answer="{}")
    if begun_by == "reset":
        log.reset(session_id, generation, 1, expires_at=LATER, answer="{}")
    thoughts = [Delta(thinking="Hmm"), Delta(thinking="Anew", resets_thinking=True), Delta("Because"), Delta("!")]
    for seq, more in enumerate(thoughts, 1):
        log.write(
            AnswerEvent(
                session_id,
                "e",
                {},
                Producer(generation, 1, seq),
                expires_at=LATER - timedelta(minutes=seq),  # no later than is known
                before=before,
                delta=more,
            )
        )
        thinking_size = len(more.thinking) or before.thinking_size
        before = Size(before.text_size + len(more.text), thinking_size)
        for key in redis.scan_iter():
            assert redis.pexpiretime(str(key)) >= LATER.timestamp() * 1000


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


def test_a_generation_that_is_begun_twice_has_begun_once(log: EventLog, redis: Redis) -> None:
    session_id, generation = uuid7(), uuid7()
    begin: dict[str, Any] = {
        "producer": Producer(generation, 0, 1),
        "expires_at": LATER,
        "answer": "{}",
        "question": "Why?",
    }
    log.append(session_id, "model", {}, expires_at=LATER)
    first = log.begin(session_id, "queued", {}, **begin)
    log.write(
        AnswerEvent(session_id, "delta", {}, Producer(generation, 1, 1), expires_at=LATER, delta=Delta("Because"))
    )
    assert log.begin(session_id, "queued", {}, **begin) == first
    assert redis.lrange(keys(session_id)[3], 0, -1) == ["Why?"]
    assert log.take_over(session_id, generation, 2).text == "Because"
    assert log.read(session_id, after=0).top == 3


def test_thinking_is_added_begun_again_taken_over_and_gone_with_the_end(log: EventLog, redis: Redis) -> None:
    session_id, generation = uuid7(), uuid7()
    thinking = keys(session_id).thinking
    log.begin(session_id, "queued", {}, Producer(generation, 0, 0), expires_at=LATER, answer="{}")

    def write(kind: str, seq: int, before: int, delta: Delta, attempt: int = 1) -> None:
        producer = Producer(generation, attempt, seq)
        log.write(AnswerEvent(session_id, kind, {}, producer, expires_at=LATER, before=Size(0, before), delta=delta))

    def end(seq: int, before: Size) -> None:
        log.end(session_id, "done", {}, Producer(generation, 2, seq), expires_at=LATER, before=before)

    write("thinking", 1, 0, Delta(thinking="Grü", thinking_ms=100))
    write("thinking", 2, 4, Delta(thinking="ße", thinking_ms=1500))
    write("thinking", 2, 4, Delta(thinking="ße"))  # told twice, for it was not answered
    assert log.take_over(session_id, generation, 2) == PartialAnswer("", "Grüße", 1500)
    with pytest.raises(Fenced):
        write("thinking", 3, 7, Delta(thinking="!"))
    write("thinking", 1, 7, Delta(thinking="Anew", resets_thinking=True, thinking_ms=10), attempt=2)
    assert redis.get(thinking) == "Anew"
    redis.set(thinking, "An")  # as a Redis that comes back with what it had
    with pytest.raises(LogLost):
        write("e", 2, 4, NOTHING, attempt=2)
    with pytest.raises(LogLost):
        end(2, Size(0, 4))
    redis.set(thinking, "Anew")
    write("delta", 2, 4, Delta("So", thinking_ms=20), attempt=2)
    end(3, Size(2, 4))
    assert not redis.exists(thinking)
    assert redis.hget(keys(session_id).meta, "thought_for") is None


@pytest.mark.parametrize("begin", ["next", "anew"])
def test_no_thinking_of_an_earlier_beginning_is_left(log: EventLog, redis: Redis, begin: str) -> None:
    session_id, first, second = uuid7(), uuid7(), uuid7()
    log.begin(session_id, "queued", {}, Producer(first, 0, 0), expires_at=LATER, answer="{}")
    thought = Delta(thinking="Hmm", thinking_ms=2000)
    log.write(AnswerEvent(session_id, "thinking", {}, Producer(first, 1, 1), expires_at=LATER, delta=thought))
    if begin == "next":
        log.begin(session_id, "queued", {}, Producer(second, 0, 0), expires_at=LATER, answer="{}")
        assert log.take_over(session_id, second, 1) == PartialAnswer()
    else:
        log.reset(session_id, first, 2, expires_at=LATER, answer="{}")
        assert log.take_over(session_id, first, 2) == PartialAnswer()
    assert not redis.exists(keys(session_id).thinking)


def test_the_end_of_what_only_thought_is_not_the_end_of_what_nobody_has_seen(log: EventLog) -> None:
    session_id, generation = uuid7(), uuid7()
    terminal = Producer.terminal(generation, 1)
    with pytest.raises(LogLost):
        log.end(session_id, "stopped", {}, terminal, expires_at=LATER, before=Size(0, 3))
    log.end(session_id, "stopped", {}, terminal, expires_at=LATER)
    assert log.read(session_id, after=0).events == []
