"""A look that takes its time holds nobody up."""

from concurrent.futures import wait
from threading import Event as Flag

from tests.support.waiting import wait_for
from web.monitoring.single_flight import Glance


def test_while_a_look_is_under_way_nobody_starts_another() -> None:
    begun: list[int] = []
    answer = Flag()

    def look() -> int:
        begun.append(len(begun))
        assert answer.wait(10)
        return begun[-1]

    glance = Glance("test", look)
    waiting = [glance.begin() for _ in range(5)]
    wait_for(lambda: begun, what="the look begins")
    assert not wait(waiting, timeout=0.05).done
    answer.set()
    assert [future.result(10) for future in waiting] == [0] * 5
    assert begun == [0]
    assert glance.begin().result(10) == 1


def test_what_a_look_raises_is_told_and_the_next_may_succeed() -> None:
    found = iter([None, 7])

    def look() -> int:
        value = next(found)
        if value is None:
            raise LookupError("nothing there")
        return value

    glance = Glance("test", look)
    assert isinstance(glance.begin().exception(10), LookupError)
    assert glance.begin().result(10) == 7
