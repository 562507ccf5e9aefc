"""Which workers have their threads give way soon."""

import sys
from collections.abc import Iterator

import pytest

from celery_config import QueueNames
from workers import app as workers_app


@pytest.fixture(autouse=True)
def usual() -> Iterator[float]:
    """Python's own interval, which comes back after the test."""
    interval = sys.getswitchinterval()
    yield interval
    sys.setswitchinterval(interval)


def _start_with(queues: set[str], monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(workers_app, "_queues", lambda: queues)
    workers_app.take_turns()
    return sys.getswitchinterval()


def test_a_command_does_not_wait_for_a_sweep_in_the_same_process(
    usual: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    interval = _start_with({QueueNames.SESSIONS, QueueNames.MAINTENANCE}, monkeypatch)
    assert interval == pytest.approx(usual / 10)


def test_workers_without_a_sweep_stay_as_they_are(usual: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _start_with({QueueNames.CHAT}, monkeypatch) == usual
