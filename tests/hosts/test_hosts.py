"""The whole system over several hosts, of which one is cut off in the middle of an answer."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.installation import LEASE, Guest, Installation, guest
from tests.support.cable import Cable
from tests.support.hosts import Hosts
from tests.support.postgres import Postgres
from tests.support.provider import ProviderServer
from tests.support.sentinel import Sentinels, Server
from tests.support.waiting import wait_for

MARGIN = 5
"""Seconds that an answer may pause beside that and a failover."""
CUT = 30
"""Seconds for which a host is cut off."""


@pytest.fixture
def model(hosts: Hosts) -> Iterator[ProviderServer]:
    """A model server that all hosts reach."""
    server = ProviderServer(address=hosts.here)
    yield server
    server.stop()


@pytest.fixture
def database_url(hosts: Hosts, postgres: Postgres) -> Iterator[str]:
    """A database that all hosts reach, and a host that is cut off does not."""
    direct = postgres.create()
    cable = Cable(postgres, hosts.here)
    yield cable.url(direct)
    cable.close()
    postgres.drop(direct)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Three hosts beside this one."""
    made = Hosts("one", "two", "three")
    yield made
    made.close()


@pytest.mark.timeout(240)  # of which the host is away for CUT
def test_a_chat_worker_that_is_cut_off_loses_its_answer_and_disturbs_nobody_when_it_is_back(
    hosts: Hosts, model: ProviderServer, database_url: str, tmp_path: Path
) -> None:
    redis = Server([], address=hosts.here)
    parts = Installation(
        tmp_path,
        model,
        f"redis://{hosts.here}:{redis.port}",
        database_url,
        workers={name: hosts.within(name) for name in ("one", "two")},
    )
    try:
        model.go_on.clear()
        with guest(parts.web.url, "paused") as someone:
            someone.ask()
            someone.begun(8)
            cut = next(worker.name for worker in parts.workers if "Task chat.generate" in worker.logs())
            hosts.cut(cut)
            lost_at = time.monotonic()
            wait_for(
                lambda: any(each.type == "resumed" for each in someone.told), seconds=30, what="it is carried on"
            )
            wait_for(lambda: time.monotonic() > lost_at + CUT, what="the host has been away for so long")
            hosts.mend(cut)
            someone.begun(len(someone.text()) + 8)
            model.go_on.set()
            _whole(someone, LEASE + MARGIN)
            someone.told.clear()
            someone.ask("And?")
            assert someone.ended() == "done"
        assert all(worker.status == "running" for worker in parts.workers)
    finally:
        parts.close()
        redis.close()


@pytest.mark.timeout(240)
def test_an_answer_outlives_the_host_of_the_redis_master(
    hosts: Hosts, model: ProviderServer, database_url: str, tmp_path: Path
) -> None:
    names = ("one", "two", "three")
    group = Sentinels(
        addresses=[hosts.address(name) for name in names], within=[hosts.within(name) for name in names]
    )
    parts = Installation(tmp_path, model, group.url, database_url)
    try:
        client = group.client()
        group.ready(client)
        model.go_on.clear()
        with guest(parts.web.url, "paused") as someone:
            someone.ask()
            someone.begun(8)
            hosts.cut("one")
            lost_at = time.monotonic()
            group.named()
            failover = time.monotonic() - lost_at
            group.promoted(client)
            someone.begun(len(someone.text()) + 8)
            hosts.mend("one")
            model.go_on.set()
            _whole(someone, LEASE + failover + MARGIN)
            someone.told.clear()
            someone.ask("And?")
            assert someone.ended() == "done"
    finally:
        parts.close()
        group.close()


def _whole(someone: Guest, longest: float) -> None:
    """The answer has ended well, has been told as it is kept, and has paused for so many seconds at the most."""
    assert someone.ended() == "done"
    assert someone.text() == someone.answer()
    assert someone.longest_pause() < longest
