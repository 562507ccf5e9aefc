"""Items that fail, one at a time and in batches."""

import logging
from collections.abc import Sequence
from datetime import timedelta

import pytest

from core.errors import Unavailable
from core.stores.quarantine import (
    FIRST_DELAY,
    MAX_DELAY,
    MAX_DELAY_UNAVAILABLE,
    MAX_ITEMS,
    MAX_UNAVAILABLE,
    Quarantine,
    delay,
)
from tests.conftest import TurnableClock

WORDS = "what a person has written"


@pytest.fixture
def counted() -> list[str]:
    """The jobs whose failures were counted."""
    return []


@pytest.fixture
def quarantine(clock: TurnableClock, counted: list[str]) -> Quarantine[int]:
    """That of a job."""
    return Quarantine("job", clock, counted.append)


def _poisoned(*items: int, error: type[Exception] = ValueError) -> "_Handler":
    return _Handler(set(items), error)


class _Handler:
    """Fails for some items, and notes which it was given."""

    def __init__(self, poisoned: set[int], error: type[Exception]) -> None:
        self.poisoned, self._error, self.seen = poisoned, error, list[int]()

    def __call__(self, item: int) -> int:
        return self.batch([item])

    def batch(self, items: Sequence[int]) -> int:
        self.seen += items
        if self.poisoned & {*items}:
            raise self._error(WORDS)
        return len(items)


def test_one_item_fails_and_the_others_are_handled(quarantine: Quarantine[int], counted: list[str]) -> None:
    handle = _poisoned(2)
    assert quarantine.for_each([1, 2, 3], handle) == [1, 1]
    assert handle.seen == [1, 2, 3]
    assert counted == ["job"]


def test_the_log_names_the_item_and_quotes_no_message(
    quarantine: Quarantine[int], caplog: pytest.LogCaptureFixture
) -> None:
    quarantine.for_each([1234], _poisoned(1234))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "job: 1234 failed, 1 times in a row (ValueError)" in record.getMessage()
    assert "in batch" in record.getMessage()  # where
    assert WORDS not in caplog.text


def test_it_is_tried_again_later_and_ever_later(quarantine: Quarantine[int], clock: TurnableClock) -> None:
    handle = _poisoned(1)
    quarantine.for_each([1], handle)
    assert quarantine.held() == set()
    quarantine.for_each([1], handle)
    assert quarantine.held() == {1}
    quarantine.for_each([1], handle)
    assert len(handle.seen) == 2
    clock.turn(FIRST_DELAY)
    quarantine.for_each([1], handle)
    assert len(handle.seen) == 3
    clock.turn(FIRST_DELAY)
    assert quarantine.held() == {1}
    clock.turn(FIRST_DELAY)
    handle.poisoned.clear()
    assert quarantine.for_each([1], handle) == [1]
    quarantine.for_each([1], _poisoned(1))
    assert quarantine.held() == set()  # a success has begun the count anew


def test_delays() -> None:
    assert [delay(count, MAX_DELAY) for count in (1, 2, 3, 4)] == [
        timedelta(),
        FIRST_DELAY,
        2 * FIRST_DELAY,
        4 * FIRST_DELAY,
    ]
    assert delay(10_000, MAX_DELAY) == MAX_DELAY
    assert delay(10_000, MAX_DELAY_UNAVAILABLE) == MAX_DELAY_UNAVAILABLE


def test_a_store_that_is_away_ends_the_run(quarantine: Quarantine[int]) -> None:
    handle = _poisoned(*range(100), error=Unavailable)
    with pytest.raises(Unavailable):
        quarantine.for_each(range(100), handle)
    assert len(handle.seen) == MAX_UNAVAILABLE


def test_a_few_items_that_make_a_store_seem_away_hold_up_no_others(quarantine: Quarantine[int]) -> None:
    """Such as rows that another process has locked."""
    handle = _poisoned(0, 1, 2, error=Unavailable)
    for _ in range(2):
        with pytest.raises(Unavailable):
            quarantine.for_each(range(5), handle)
    assert quarantine.for_each(range(5), handle) == [1, 1]


def test_a_batch_is_handled_at_once(quarantine: Quarantine[int]) -> None:
    assert quarantine.for_batch([1, 2, 3], _poisoned().batch) == [3]


def test_of_a_batch_that_fails_each_is_handled_alone(quarantine: Quarantine[int]) -> None:
    handle = _poisoned(2)
    assert quarantine.for_batch([1, 2, 3], handle.batch) == [1, 1]
    handle.seen.clear()
    assert quarantine.for_batch([1, 2, 3], handle.batch) == [2]  # the suspect is no longer in the batch
    assert handle.seen == [1, 3, 2]


def test_a_batch_during_an_outage_costs_two_tries(quarantine: Quarantine[int]) -> None:
    calls: list[Sequence[int]] = []

    def away(items: Sequence[int]) -> None:
        calls.append(items)
        raise Unavailable

    with pytest.raises(Unavailable):
        quarantine.for_batch([1, 2, 3], away)
    assert calls == [[1, 2, 3], [1]]


def test_its_memory_is_bounded(quarantine: Quarantine[int]) -> None:
    items = range(MAX_ITEMS + 10)
    for _ in range(2):
        quarantine.for_each(items, _poisoned(*items))
    assert len(quarantine.held()) <= MAX_ITEMS
