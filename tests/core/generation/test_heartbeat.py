"""At which pace an attempt's leases are renewed, and for how long a database that is away is tolerated."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from uuid_utils.compat import uuid7

from core.errors import Unavailable
from core.generation.attempts import Attempt
from core.generation.heartbeat import Heartbeats

LEASE = timedelta(seconds=12)
"""Renewed every four seconds."""


class _Stores:
    """Attempts, limits and a slot whose database can be away, and the moments at which leases are to be renewed."""

    lease = LEASE

    def __init__(self) -> None:
        self.now = 0.0
        self.away = range(0)
        """Seconds at which the database is."""
        self.renewed: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def renew(self, *_: Any) -> None:
        self.renewed.append(self.now)
        if int(self.now) in self.away:
            raise Unavailable

    def renew_lease(self, *_: Any) -> None:
        """The limits always can."""


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> _Stores:
    """Stores, and a clock that the test turns."""
    stores = _Stores()
    monkeypatch.setattr("core.generation.heartbeat.time", stores)
    return stores


def _tick(stores: _Stores, *, until: float) -> None:
    """Tick twice a second, in an attempt that is never stopped."""
    attempt = Attempt(uuid7(), uuid7(), uuid7(), "good", 1, True, datetime.now(UTC))
    quiet = SimpleNamespace(stop_requested=lambda *_: False, keep_snapshot=lambda *_: None)
    slot = SimpleNamespace(renew=lambda: None)
    heartbeat = Heartbeats(*cast("Any", (stores, quiet, quiet, stores))).start(attempt, cast("Any", slot))
    while stores.now < until:
        stores.now += 0.5
        heartbeat.tick()


def test_leases_are_renewed_three_times_in_their_time_and_oftener_while_the_database_is_away(
    stores: _Stores,
) -> None:
    stores.away = range(5, 30)
    with pytest.raises(Unavailable):
        _tick(stores, until=30)
    assert stores.renewed == [4, 8, 9, 10, 11, 12, 13, 14, 15, 16], "up to a whole lease after the last success"


def test_each_success_begins_the_time_anew_for_which_a_failure_is_tolerated(stores: _Stores) -> None:
    stores.away = range(13, 23)
    _tick(stores, until=30)
    assert stores.renewed == [4, 8, 12, 16, 17, 18, 19, 20, 21, 22, 23, 27]
