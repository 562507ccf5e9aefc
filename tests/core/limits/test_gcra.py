"""The arithmetic against what it is meant to promise."""

from hypothesis import given
from hypothesis import strategies as st

from core.limits.gcra import Charge, charge, missing, remaining, restores, settle
from core.limits.rate import SECOND, Rate

rates = st.builds(
    Rate, st.integers(1, 50), st.integers(60, 86_400).map(lambda seconds: seconds * SECOND), st.integers(1, 20)
)
pauses = st.lists(st.integers(0, 7200 * SECOND), min_size=1, max_size=60)
START = 1_900_000_000 * SECOND


def _admitted(rate: Rate, waits: list[int]) -> list[int]:
    """The moments at which a lone bucket admits."""
    now, arrival, moments = START, None, []
    for wait in waits:
        now += wait
        admitted, (backlog,) = charge(now, [arrival], [Charge(rate)])
        if admitted:
            moments.append(now)
            arrival = now + backlog
    return moments


@given(rates, pauses)
def test_no_stretch_of_time_sees_more_than_a_burst_and_the_rate(rate: Rate, waits: list[int]) -> None:
    moments = _admitted(rate, waits)
    for first, start in enumerate(moments):
        for last in range(first, len(moments)):
            assert last - first + 1 <= rate.burst + (moments[last] - start) // rate.interval


@given(rates, st.integers(1, 20))
def test_a_fresh_bucket_admits_its_burst_at_once_and_no_more(rate: Rate, more: int) -> None:
    assert len(_admitted(rate, [0] * (rate.burst + more))) == rate.burst


@given(rates, pauses)
def test_what_is_told_is_true(rate: Rate, waits: list[int]) -> None:
    now, arrival = START, None
    for wait in waits:
        now += wait
        admitted, (backlog,) = charge(now, [arrival], [Charge(rate)])
        arrival = now + backlog if admitted else arrival
        left = remaining(backlog, rate)
        assert 0 <= left <= rate.burst
        assert len(_from(rate, now, arrival, left + 1)) == left
        # One microsecond before its time is too early; at its time it is not.
        if not left:
            early, _ = charge(now + missing(backlog, rate) - 1, [arrival], [Charge(rate)])
            in_time, _ = charge(now + missing(backlog, rate), [arrival], [Charge(rate)])
            assert (early, in_time) == (False, True)
        _, (later,) = charge(now + restores(backlog, rate), [arrival], [Charge(rate)])
        assert 0 < restores(backlog, rate) <= rate.interval
        assert remaining(later, rate) == min(left, rate.burst - 1)


def _from(rate: Rate, now: int, arrival: int | None, tries: int) -> list[bool]:
    """The admissions of so many tries at one moment."""
    admissions: list[bool] = []
    for _ in range(tries):
        admitted, (backlog,) = charge(now, [arrival], [Charge(rate)])
        if admitted:
            admissions.append(admitted)
            arrival = now + backlog
    return admissions


@given(st.lists(rates, min_size=1, max_size=4), st.data())
def test_one_empty_bucket_keeps_all_from_being_charged(several: list[Rate], data: st.DataObject) -> None:
    empty = data.draw(st.integers(0, len(several) - 1))
    arrivals = [START + rate.capacity if at == empty else None for at, rate in enumerate(several)]
    admitted, backlogs = charge(START, arrivals, [Charge(rate) for rate in several])
    assert not admitted
    assert backlogs == [rate.capacity if at == empty else 0 for at, rate in enumerate(several)]


def test_a_clock_that_was_set_back_locks_nobody_out() -> None:
    rate = Rate(10, 60 * SECOND, 10)
    _, (backlog,) = charge(START, [START + 365 * 86_400 * SECOND], [Charge(rate)])
    assert backlog == rate.capacity
    assert missing(backlog, rate) == rate.interval


@given(rates, pauses, st.integers(1, 20))
def test_what_costs_several_units_is_as_good_as_several_that_cost_one(
    rate: Rate, waits: list[int], cost: int
) -> None:
    cost = min(cost, rate.burst)
    now, at_once, one_by_one = START, None, None
    for wait in waits:
        now += wait
        admitted, (backlog,) = charge(now, [at_once], [Charge(rate, cost)])
        if admitted:
            at_once = now + backlog
            for _ in range(cost):
                all_of_them, (backlog,) = charge(now, [one_by_one], [Charge(rate)])
                assert all_of_them
                one_by_one = now + backlog
        assert at_once == one_by_one
        if not admitted:
            in_time, _ = charge(now + missing(backlog, rate, cost), [at_once], [Charge(rate, cost)])
            assert in_time


@given(rates, st.integers(1, 20), st.integers(0, 40), st.integers(0, 7200 * SECOND))
def test_a_settled_charge_is_as_if_its_price_had_been_known(rate: Rate, reserved: int, used: int, later: int) -> None:
    reserved = min(reserved, rate.burst)
    _, (backlog,) = charge(START, [None], [Charge(rate, reserved)])
    settled = settle(START, START + backlog, rate, used - reserved)
    assert settled == min(used * rate.interval, rate.capacity)
    # Later the part that has come back by itself is not given back a second time.
    assert 0 <= settle(START + later, START + backlog, rate, used - reserved) <= rate.capacity
