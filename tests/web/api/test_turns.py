"""Who waits in line, and for how long."""

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest

from core.errors import Unavailable
from tests.support.waiting import wait_for
from web.api.turns import Turns

PATIENCE = 30.0


def test_no_more_than_so_many_have_a_turn_and_all_get_one() -> None:
    turns, go = Turns(at_once=2, timeout=PATIENCE), Event()
    inside: list[int] = []
    most: list[int] = []

    def take(number: int) -> None:
        with turns.turn():
            inside.append(number)
            most.append(len(inside))
            go.wait(PATIENCE)
            inside.remove(number)

    with ThreadPoolExecutor(5) as threads:
        done = [threads.submit(take, number) for number in range(5)]
        wait_for(lambda: len(inside) == 2, what="two have a turn")
        go.set()
        assert [each.result(PATIENCE) for each in done] == [None] * 5
    assert max(most) == 2


def test_who_waits_behind_one_whose_store_is_away_is_refused_with_it() -> None:
    turns, go = Turns(at_once=1, timeout=PATIENCE), Event()
    began: list[int] = []

    def take(number: int) -> None:
        with turns.turn():
            began.append(number)
            go.wait(PATIENCE)
            raise Unavailable("away")

    with ThreadPoolExecutor(4) as threads:
        done: list[Future[None]] = [threads.submit(take, number) for number in range(4)]
        wait_for(lambda: len(turns._free._cond._waiters) == 3, what="one has a turn, and the others wait")  # type: ignore[attr-defined]
        go.set()
        for each in done:
            with pytest.raises(Unavailable, match="away"):
                each.result(PATIENCE)
    assert len(began) == 1
    with turns.turn():  # one that comes later tries for itself
        pass


def test_a_turn_that_does_not_come_is_waited_for_no_longer_than_said() -> None:
    turns = Turns(at_once=1, timeout=0.01)
    with turns.turn(), pytest.raises(Unavailable, match="Too many") as refused, turns.turn():
        pass
    assert refused.value.retry_after == 2
