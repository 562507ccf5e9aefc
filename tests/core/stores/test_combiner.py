"""Calls of many threads, carried out together."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from core.stores.combiner import Combiner
from tests.support.waiting import wait_for


class Store:
    """What is asked together: it doubles, and holds its first call up until it is told to go on."""

    def __init__(self) -> None:
        self.calls: list[Sequence[int]] = []
        self.go_on = Event()

    def double(self, items: Sequence[int]) -> Sequence[int]:
        """As `Combiner` asks."""
        self.calls.append(items)
        assert self.go_on.wait(10)
        if -1 in items:
            raise LookupError
        return [2 * item for item in items]


def test_a_lone_call_waits_for_nobody() -> None:
    store = Store()
    store.go_on.set()
    combiner = Combiner(store.double)
    assert [combiner.call(each) for each in (1, 2)] == [2, 4]
    assert store.calls == [[1], [2]]


def test_what_comes_during_a_call_is_the_next_one_and_each_gets_its_own_result() -> None:
    store = Store()
    combiner = Combiner(store.double)
    with ThreadPoolExecutor(20) as threads:
        first = threads.submit(combiner.call, 100)
        wait_for(lambda: store.calls, what="the first is carried out")
        others = [threads.submit(combiner.call, each) for each in range(19)]
        wait_for(lambda: len(combiner._waiting) == 19, what="the others wait")
        store.go_on.set()
        assert first.result(10) == 200
        assert [other.result(10) for other in others] == [2 * each for each in range(19)]
    assert [len(items) for items in store.calls] == [1, 19]


def test_what_is_raised_concerns_only_those_that_were_carried_out_together() -> None:
    store = Store()
    combiner = Combiner(store.double)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(combiner.call, 1)
        wait_for(lambda: store.calls, what="the first is carried out")
        others = [threads.submit(combiner.call, each) for each in (2, -1)]
        wait_for(lambda: len(combiner._waiting) == 2, what="the others wait")
        store.go_on.set()
        assert first.result(10) == 2
        for other in others:
            with pytest.raises(LookupError):
                other.result(10)
    assert combiner.call(3) == 6


def test_no_more_than_so_many_are_carried_out_together() -> None:
    store = Store()
    combiner = Combiner(store.double, most=4)
    with ThreadPoolExecutor(10) as threads:
        first = threads.submit(combiner.call, 0)
        wait_for(lambda: store.calls, what="the first is carried out")
        others = [threads.submit(combiner.call, each) for each in range(1, 10)]
        wait_for(lambda: len(combiner._waiting) == 9, what="the others wait")
        store.go_on.set()
        assert [each.result(10) for each in (first, *others)] == [2 * each for each in range(10)]
    assert [len(items) for items in store.calls] == [1, 4, 4, 1]
