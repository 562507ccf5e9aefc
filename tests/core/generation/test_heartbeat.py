"""At which pace the leases of all answers are renewed, and for how long a database that is away is tolerated."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from uuid_utils.compat import uuid7

from core.errors import Unavailable
from core.generation.attempts import Attempt, LeaseLost, Owned
from core.generation.handovers import Handovers
from core.generation.heartbeat import Heartbeat, Heartbeats

LEASE = timedelta(seconds=12)
"""Renewed every four seconds."""


class _Stores:
    """Attempts whose database can be away, with the moments at which leases are to be renewed, and a clock."""

    lease = LEASE

    def __init__(self) -> None:
        self.now = 0.0
        self.away = range(0)
        """Seconds at which the database is."""
        self.broken: set[Attempt] = set()
        """Attempts whose rows can't be changed."""
        self.lost: set[Attempt] = set()
        self.renewed: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, _: float) -> None:
        """The test ticks itself."""

    def renew_all(self, attempts: Sequence[Attempt]) -> Owned:
        self.renewed.append(self.now)
        if int(self.now) in self.away:
            raise Unavailable
        if self.broken & set(attempts):
            raise RuntimeError("poisoned")
        return Owned(set(attempts) - self.lost, self.lost & set(attempts))


class _Pipeline:
    """Redis, for which nothing is ever wrong."""

    def __init__(self) -> None:
        self.answers: list[None] = []

    def __enter__(self) -> "_Pipeline":
        return self

    def __exit__(self, *_: object) -> None:
        """It holds nothing."""

    def add(self, *_: Any) -> None:
        self.answers.append(None)

    def execute(self, **_: Any) -> list[None]:
        return self.answers


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> _Stores:
    """Stores, and a clock that the test turns."""
    stores = _Stores()
    monkeypatch.setattr("core.generation.heartbeat.time", stores)
    monkeypatch.setattr(Heartbeats, "_beat", lambda _: None)
    return stores


@contextmanager
def _beating(stores: _Stores, count: int = 1) -> Iterator[tuple[Heartbeats, list[Heartbeat]]]:
    """The heartbeats of so many attempts that are never stopped."""
    redis = SimpleNamespace(pipeline=lambda **_: _Pipeline())
    log = SimpleNamespace(add_request_poll=lambda pipe, *_: pipe.add())
    limits = SimpleNamespace(add_renewal=lambda pipe, *_: pipe.add())
    slot = SimpleNamespace(add_renewal=lambda pipe: pipe.add(), model="good")
    beats = Heartbeats(*cast("Any", (stores, log, None, limits, redis)))
    with ExitStack() as stack:
        attempts = [
            Attempt(uuid7(), uuid7(), uuid7(), "good", 1, True, datetime.now(UTC), Handovers("good"))
            for _ in range(count)
        ]
        yield beats, [stack.enter_context(beats.start(attempt, cast("Any", slot))) for attempt in attempts]


def _tick(stores: _Stores, beats: Heartbeats, heartbeats: Sequence[Heartbeat], *, until: float) -> None:
    """Tick twice a second."""
    while stores.now < until:
        stores.now += 0.5
        beats.tick()
        for heartbeat in heartbeats:
            heartbeat.check()


def test_leases_are_renewed_three_times_in_their_time_and_oftener_while_the_database_is_away(
    stores: _Stores,
) -> None:
    stores.away = range(5, 30)
    with _beating(stores, 3) as (beats, heartbeats), pytest.raises(Unavailable):
        _tick(stores, beats, heartbeats, until=30)
    assert stores.renewed == [4, 8, 9, 10, 11, 12, 13, 14, 15, 16], "up to a whole lease after the last success"


def test_each_success_begins_the_time_anew_for_which_a_failure_is_tolerated(stores: _Stores) -> None:
    stores.away = range(13, 23)
    with _beating(stores, 3) as (beats, heartbeats):
        _tick(stores, beats, heartbeats, until=30)
    assert stores.renewed == [4, 8, 12, 16, 17, 18, 19, 20, 21, 22, 23, 27]


@pytest.mark.parametrize(("trouble", "raised"), [("lost", LeaseLost), ("broken", RuntimeError)])
def test_what_befalls_one_concerns_no_other(stores: _Stores, trouble: str, raised: type[Exception]) -> None:
    with _beating(stores, 3) as (beats, [first, second, third]):
        getattr(stores, trouble).add(second.attempt)
        _tick(stores, beats, [], until=4)
        with pytest.raises(raised):
            second.check()
        stores.lost.clear()
        stores.broken.clear()
        _tick(stores, beats, [first, third], until=30)
