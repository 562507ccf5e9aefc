"""A call that takes its time holds up only the callers that wait for it."""

from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event as Flag
from threading import get_ident

from tests.support.waiting import wait_for
from web.monitoring.single_flight import SingleFlight


def test_while_a_call_is_under_way_nobody_starts_another() -> None:
    begun: list[int] = []
    answer = Flag()

    def call() -> int:
        begun.append(len(begun))
        assert answer.wait(10)
        return begun[-1]

    flight = SingleFlight("test", call)
    waiting = [flight.start() for _ in range(5)]
    wait_for(lambda: begun, what="the call begins")
    assert not wait(waiting, timeout=0.05).done
    answer.set()
    assert [future.result(10) for future in waiting] == [0] * 5
    assert begun == [0]
    assert flight.start().result(10) == 1


def test_of_callers_that_wait_anyhow_the_first_makes_the_call_for_all() -> None:
    callers: list[int] = []
    answer = Flag()

    def call() -> None:
        callers.append(get_ident())
        assert answer.wait(10)
        raise LookupError("nothing there")

    flight = SingleFlight("test", call)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: (get_ident(), flight.call()))
        wait_for(lambda: callers, what="the call begins")
        shared = flight.start()
        answer.set()
        assert isinstance(first.exception(10), LookupError)
        assert shared.exception(10) is first.exception()
        assert callers == [pool.submit(get_ident).result()]


def test_what_a_call_raises_is_told_and_the_next_may_succeed() -> None:
    found = iter([None, 7])

    def call() -> int:
        value = next(found)
        if value is None:
            raise LookupError("nothing there")
        return value

    flight = SingleFlight("test", call)
    assert isinstance(flight.start().exception(10), LookupError)
    assert flight.start().result(10) == 7
