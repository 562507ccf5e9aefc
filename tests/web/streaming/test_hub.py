"""The process's one connection for announcements, and what comes over it that is none."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from core.auth.proofs import Proof, Proofs
from core.clock import SystemClock
from core.conversation.event_log import EventLog
from core.conversation.keys import channel
from core.messaging.revocations import CHANNEL as REVOKED
from core.stores.database import Database
from core.stores.redis import Redis, connect
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from web.streaming.hub import Hub
from web.streaming.subscription import Announced, Subscription

WAIT = 10.0
"""Seconds that an event may take."""
RUBBISH: dict[str, str | bytes] = {
    "nothing": "",
    "no JSON": "delta",
    "no object": "[1]",
    "a number": "17",
    "an empty object": "{}",
    "without data": '{"type":"delta","id":"0a1b2c3d-1"}',
    "without an id": '{"type":"delta","data":"{}"}',
    "with another's id": '{"type":"delta","data":"{}","id":"first"}',
    "an id that is a number": '{"type":"delta","data":"{}","id":1}',
    "data that is no text": '{"type":"delta","data":{},"id":"0a1b2c3d-1"}',
    "a type that is no text": '{"type":7,"data":"{}","id":"0a1b2c3d-1"}',
    "what is not ASCII": '{"type":"delta","data":"\\u00e9","id":"0a1b2c3d-1"}',
    "nested beyond measure": "[" * 100_000,
    "no UTF-8": b'{"type":"delta","data":"\xff","id":"0a1b2c3d-1"}',
}


@pytest.fixture
def client(valkey: Valkey) -> Iterator[Redis]:
    redis = connect(valkey.url, timeout=5, retries=0)
    yield redis
    redis.close()


@pytest.fixture
def hub(client: Redis) -> Iterator[Hub]:
    running = Hub(client)
    yield running
    running.close()


def _next(reader: Subscription) -> Announced:
    """The next event; there may be other news before it."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if told := reader.take(deadline - time.monotonic()):
            return told
    raise AssertionError("no event has come")


@pytest.mark.parametrize("message", RUBBISH.values(), ids=RUBBISH)
def test_what_is_no_event_is_passed_over_and_disturbs_nobody(
    hub: Hub, client: Redis, caplog: pytest.LogCaptureFixture, message: str | bytes
) -> None:
    log, expires_at = EventLog(client), datetime.now(UTC) + timedelta(minutes=1)
    mine, others = uuid4(), uuid4()
    with ExitStack() as stack:
        readers = [stack.enter_context(hub.subscribe(channel(session))) for session in (mine, others)]
        for _ in range(2):
            client.publish(channel(mine), message)
        for session, reader in zip((mine, others), readers, strict=True):
            log.append(session, "model", {"session": str(session)}, expires_at=expires_at)
            told = _next(reader)
            assert str(session) in told.data
            # It has not been told to read the log, as after a loss of the connection.
            assert not reader.missed()
    told_of = [record.getMessage() for record in caplog.records if record.name == "web.streaming.hub"]
    assert [line.rsplit(";", 1)[1] for line in told_of if ";" in line] == [" 1 so far", " 2 so far"]
    assert all(channel(mine) in line and "delta" not in line for line in told_of)


@pytest.mark.parametrize("name", ["replies", "revocations"])
def test_rubbish_for_the_process_itself_disturbs_no_reader(hub: Hub, client: Redis, name: str) -> None:
    log, session = EventLog(client), uuid4()
    with hub.subscribe(channel(session)) as reader:
        for message in RUBBISH.values():
            client.publish(hub.reply_channel if name == "replies" else REVOKED, message)
        log.append(session, "model", {}, expires_at=datetime.now(UTC) + timedelta(minutes=1))
        assert _next(reader).type == "model"
        assert not reader.missed()


def test_a_reader_hears_that_its_session_is_over(hub: Hub, client: Redis) -> None:
    session = uuid4()
    with hub.subscribe(channel(session)) as reader:
        client.publish(channel(session), '{"type":"expired","data":"{}"}')
        told = _next(reader)
        assert (told.position, told.type) == (None, "expired")


def test_a_reader_that_came_after_a_quiet_time_has_its_grace_while_the_database_is_away(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    grace = 1.0
    monkeypatch.setattr("web.streaming.hub.VERIFY_INTERVAL", 0.05)
    monkeypatch.setattr("web.streaming.hub.UNVERIFIED_GRACE", grace)
    away = Database("postgresql+psycopg://nobody@127.0.0.1:1/none", pool_size=1)
    hub = Hub(client, Proofs(away, SystemClock()))
    session_id = uuid4()
    proof = Proof(session_id, None, b"x" * 32, None)
    try:
        with hub.subscribe(channel(session_id)):
            quiet_since = time.monotonic()
        wait_for(lambda: time.monotonic() > quiet_since + grace, what="nobody has read for longer than the grace")
        with hub.subscribe(channel(session_id), proof) as reader:
            opened_at = time.monotonic()
            wait_for(lambda: reader.revoked, what="the grace is over")
            assert grace * 0.9 < time.monotonic() - opened_at < grace + 5
    finally:
        hub.close()
        away.dispose()
