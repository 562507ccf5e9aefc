"""How long readers that all come back at once take to be told what they have missed, and what others notice of it."""

import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from bench import appender, readers, returning
from bench.child import Child, child
from bench.servers import Server, switchboard
from core.conversation.keys import channel
from core.stores.redis import Redis
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for

APPENDED_FIRST = 2
"""Events of a session before its readers come: the appender's."""
MISSED_RATE = 5000
"""Events per second that are appended while the readers are away."""
ARRIVAL = 10.0
"""Seconds that the last events may take."""


CAUGHT_UP = 10.0
"""Seconds within which ten thousand readers are promised to be back and to have been told all that they missed."""
DISTURBANCE = 100.0
"""Milliseconds within which 99 of 100 events are promised to reach the others meanwhile."""


@dataclass(frozen=True)
class Load:
    """What is asked for."""

    readers: int
    """That come back, each of a session of its own."""
    others: int
    """That stay, each of a session of its own."""
    rate: float
    """Events per second for those that stay."""
    seconds: float
    """For how long those that stay are sent events: longer than it takes the others to come back."""
    missed: int
    """Events of each session that its reader has missed."""


@dataclass(frozen=True)
class Measured:
    """What was seen."""

    seconds: float
    """Until the last reader was back and had been told all that it missed."""
    others_p99: float
    """Milliseconds from an event's append to its arrival at those that stayed, while the readers came back."""


def measure(load: Load, valkey: Valkey) -> Measured:
    """Measure and print. Raises SystemExit when an event was lost, or told twice."""
    with switchboard(valkey.directory, valkey, load.readers + load.others) as server:
        expires_at = datetime.now(UTC) + timedelta(hours=1)
        left, stayed = slice(None, load.readers), slice(load.readers, None)
        first, last = APPENDED_FIRST, APPENDED_FIRST + load.missed
        with (
            child(appender.run, str(valkey.socket), server.session_ids[left], expires_at) as missed,
            child(appender.run, str(valkey.socket), server.session_ids[stayed], expires_at) as live,
        ):
            missed.receive()
            live.receive()
            with (
                child(readers.run, server.port, server.requests[stayed], server.greets) as staying,
                child(returning.run, server.port, server.requests[left], first, last) as leaving,
            ):
                refused = [*staying.receive(), *leaving.receive().refused]
                assert not refused, refused[:3]
                _await_arrivals(server.session_ids, valkey.client())
                leaving.send("cut")
                leaving.receive()
                missed.send((MISSED_RATE, load.missed * load.readers / MISSED_RATE))
                missed.receive()
                _await_departures(server.session_ids[left], valkey.client())
                return _come_back(load, server, live, staying, leaving)


def _await_arrivals(session_ids: Sequence[UUID], redis: Redis) -> None:
    wait_for(lambda: _subscribed(session_ids, redis) == len(session_ids), seconds=60, what="all are subscribed")


def _await_departures(session_ids: Sequence[UUID], redis: Redis) -> None:
    """Until the server has noticed: browsers come back only after two seconds (web/streaming/sse.py)."""
    wait_for(lambda: _subscribed(session_ids, redis) == 0, seconds=60, what="all have left")


def _subscribed(session_ids: Sequence[UUID], redis: Redis) -> int:
    return sum(count for _, count in redis.pubsub_numsub(*(channel(session_id) for session_id in session_ids)))


def _come_back(load: Load, server: Server, live: Child, staying: Child, leaving: Child) -> Measured:
    live.send((load.rate, load.seconds))
    before = sum(server.process.cpu_times()[:2])
    begun = time.monotonic()
    leaving.send("return")
    outcome: returning.Return = leaving.receive()
    used, lasted = sum(server.process.cpu_times()[:2]) - before, time.monotonic() - begun
    meanwhile = _report(staying)
    live.receive()
    after = _rest(staying, int(load.rate * load.seconds) - len(meanwhile))
    measured = Measured(_at(outcome.seconds, 1), _at(meanwhile, 0.99) / 1e6)
    print(
        f"{len(outcome.seconds)} of {load.readers} readers were back and told {load.missed} events each, half of them"
        f" after {_at(outcome.seconds, 0.5):.2f} s, all after {measured.seconds:.2f} s;"
        f" {used / load.readers * 1e6:.0f} us of the web process's CPU each ({used / lasted:.0%})\n"
        f"{load.others} others meanwhile: p50 {_at(meanwhile, 0.5) / 1e6:.1f}, p99 {measured.others_p99:.1f},"
        f" max {_at(meanwhile, 1) / 1e6:.1f} ms ({len(meanwhile)} events)",
        flush=True,
    )
    missing = int(load.rate * load.seconds) - len(meanwhile) - len(after)
    if outcome.refused or outcome.lost or outcome.doubled or missing:
        raise SystemExit(
            f"{outcome.lost} events were lost and {outcome.doubled} told twice to those that came back, of whom"
            f" {len(outcome.refused)} were refused ({outcome.refused[:2]}); others lack {missing} events"
        )
    return measured


def _rest(staying: Child, expected: int) -> "array[int]":
    ages = array("Q")
    deadline = time.monotonic() + ARRIVAL
    while len(ages) < expected and time.monotonic() < deadline:
        time.sleep(0.2)
        ages.extend(_report(staying))
    return ages


def _report(staying: Child) -> "array[int]":
    staying.send("report")
    ages = array("Q")
    ages.frombytes(staying.receive())
    return ages


def _at(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")
