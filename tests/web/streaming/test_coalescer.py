"""Readers that ask at once are answered together, each with its own answer."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tests.support.waiting import wait_for
from web.streaming.coalescer import Coalescer


class _Store:
    """Holds its first question until it may go on."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.go_on = Event()

    def double(self, items: Sequence[int]) -> list[int]:
        self.asked.append(list(items))
        assert self.go_on.wait(10)
        if 13 in items:
            raise LookupError
        return [2 * item for item in items]


def test_what_is_asked_meanwhile_is_asked_together_within_bounds() -> None:
    store = _Store()
    double = Coalescer(store.double, most=4)
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(double, 0)
        wait_for(lambda: store.asked)
        others = [pool.submit(double, item) for item in range(1, 10)]
        wait_for(lambda: len(double) == 9)
        store.go_on.set()
        assert [each.result(10) for each in (first, *others)] == [2 * item for item in range(10)]
    assert [len(items) for items in store.asked] == [1, 4, 4, 1]


def test_a_failure_is_that_of_all_that_were_asked_together_and_of_no_later_one() -> None:
    store = _Store()
    double = Coalescer(store.double, most=4)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(double, 0)
        wait_for(lambda: store.asked)
        together = [pool.submit(double, item) for item in (13, 14)]
        wait_for(lambda: len(double) == 2)
        store.go_on.set()
        assert first.result(10) == 0
        for each in together:
            with pytest.raises(LookupError):
                each.result(10)
    assert double(1) == 2
