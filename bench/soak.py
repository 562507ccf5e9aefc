"""Half of what the system can take, for a long time, while each of its parts is restarted in turn.

    python -m bench.soak [--minutes 30] [--visitors 8] [--every 60]

A real PostgreSQL, a Valkey that keeps its keys, a provider, and gunicorn, worker, chat worker and beat as the
Procfile starts them. Guests come at half the rate that was measured before; each begins a session, asks a question,
reads its answer and ends the session. Every so often (--every, seconds) the next part is restarted: the web by HUP,
the others by SIGTERM. Fails when a command is lost, when an answer is not whole or is there twice, when a session,
its keys or a note of them is left at the end, when an invariant is broken, or when a part grows. The next restart
waits until visitors have come and gone since the one before.
"""

import argparse
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import psutil
from sqlalchemy import func, select

from bench import provider
from bench.chat import Chat, process, running
from bench.child import child
from bench.provider import Manner
from bench.service import memory
from bench.visitor import Visitor, Wrong
from core.errors import Unavailable
from core.operations.invariants import InvariantResult
from core.stores.tables import Removal, RemovalBatch, Session
from tests.support.postgres import Postgres
from tests.support.waiting import wait_for

MANNER = Manner(40, 20)
LIMITS = ("SWITCHBOARD_LIMIT_CREATE", "SWITCHBOARD_LIMIT_CREATE_GLOBAL", "SWITCHBOARD_LIMIT_IDEMPOTENCY")
GRACE = 30.0
"""Seconds that a part has to end by itself."""
CALM = 100.0
"""Seconds in which the last visitors leave."""
MAX_GROWTH = 0.25
"""By which the median memory of a part in the last third may exceed that in the second, besides 20 MB."""


@dataclass
class Tally:
    """What the visitors have met."""

    visits: int = 0
    tries: int = 0
    wrong: list[str] = field(default_factory=list)
    sizes: dict[str, list[float]] = field(default_factory=dict)
    """By part, its memory in MB, a look a second."""
    keys: list[float] = field(default_factory=list)
    """Keys of sessions, at the same moments."""


class Crowd:
    """Visitors, as many at once as there are threads, who come at the same intervals."""

    def __init__(self, chat: Chat, tally: Tally, visitors: int, interval: float) -> None:
        """`interval`: seconds from one visit of a thread to its next, at least."""
        self._chat = chat
        self._tally = tally
        self._interval = interval
        self._leaving = threading.Event()
        self._lock = threading.Lock()
        self._visitors = visitors
        self._threads = [threading.Thread(target=self._come, args=[each], daemon=True) for each in range(visitors)]
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def close(self) -> float:
        """Let nobody else in, and wait until all have left; visits per second until then."""
        self._leaving.set()
        for thread in self._threads:
            thread.join(CALM)
            if thread.is_alive():
                self._tally.wrong.append("a visitor has not left")
        return self._tally.visits / (time.monotonic() - self._began)

    def _come(self, number: int) -> None:
        self._leaving.wait(self._interval * number / self._visitors)
        while not self._leaving.is_set():
            began = time.monotonic()
            visitor = Visitor(self._chat.web.port, MANNER)
            try:
                visitor.visit()
                wrong = []
            except Wrong as error:
                wrong = [str(error)]
            except Exception as error:  # it would end the thread without a word
                wrong = [f"{type(error).__name__}: {error}"]
            with self._lock:
                self._tally.visits += 1
                self._tally.tries += visitor.tries
                self._tally.wrong += wrong
            self._leaving.wait(max(0.0, began + self._interval - time.monotonic()))


@dataclass(frozen=True)
class Part:
    """What is restarted, and how; and its processes."""

    name: str
    restart: Callable[[], object]
    family: Callable[[], Sequence[psutil.Process]]


def main() -> None:
    """Soak, and print what was done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--visitors", type=int, default=8)
    parser.add_argument("--every", type=float, default=60.0)
    options = parser.parse_args()
    if wrong := soak(60 * options.minutes, options.visitors, options.every, capacity=10.0):
        sys.exit("\n".join(wrong))


def soak(seconds: float, visitors: int, every: float, capacity: float) -> list[str]:
    """Soak for so many seconds, after `capacity` seconds in which the rate is measured; what was wrong."""
    with _installation(visitors) as (chat, parts):
        full = Tally()
        crowd = Crowd(chat, full, visitors, 0.0)
        time.sleep(capacity)
        rate = crowd.close()
        if full.wrong:
            return full.wrong
        print(f"{visitors} visitors at once: {rate:.1f} visits/s; half of that from here on", flush=True)
        tally = Tally()
        crowd = Crowd(chat, tally, visitors, 2 * visitors / rate)
        began, restarts = time.monotonic(), 0
        while time.monotonic() < began + seconds or restarts < len(parts):
            _watch(chat, parts, tally, every)
            part, restarted = parts[restarts % len(parts)], time.monotonic()
            restarts += 1
            part.restart()
            # At half the load about half of them are on their way, and have come before the restart.
            _watch(chat, parts, tally, CALM, tally.visits + visitors)
            took = time.monotonic() - restarted
            print(f"{restarted - began:>6.0f} s  {part.name} restarted, well after {took:.0f} s", flush=True)
        crowd.close()
        wrong = [*tally.wrong, *_left(chat)]
        if seconds >= 300:
            wrong += _growth(tally)
        print(f"{tally.visits} visits, {tally.tries} requests were sent again; {len(wrong)} wrong")
        for name, sizes in tally.sizes.items():
            print(f"  {name:<11} {sizes[0]:>6.0f} MB at first, {max(sizes):>6.0f} at most, {sizes[-1]:>6.0f} at last")
        print(f"  keys of sessions: {max(tally.keys)} at most")
        return wrong


def _watch(chat: Chat, parts: Sequence[Part], tally: Tally, seconds: float, visits: float = math.inf) -> None:
    """Look at the parts once a second, for so long or until there have been so many visits."""
    began = time.monotonic()
    while time.monotonic() < began + seconds and tally.visits < visits:
        time.sleep(1.0)
        _look(chat, parts, tally)


def _look(chat: Chat, parts: Sequence[Part], tally: Tally) -> None:
    for part in parts:
        tally.sizes.setdefault(part.name, []).append(memory(part.family()) / 2**20)
    with suppress(Unavailable):  # a restarted Valkey reads its file
        tally.keys.append(_keys(chat))


def _keys(chat: Chat) -> int:
    """How many keys sessions have."""
    return sum(1 for _ in chat.runtime.redis.scan_iter("sb:{*-*}:*", count=1000))


def _growth(tally: Tally) -> list[str]:
    """The parts that have grown: their medians of the middle and the last third are compared."""
    grown = []
    seen: Mapping[str, Sequence[float]] = {**tally.sizes, "keys of sessions": tally.keys}
    for name, sizes in seen.items():
        third = len(sizes) // 3
        middle, last = (sorted(some)[third // 2] for some in (sizes[third : 2 * third], sizes[2 * third :]))
        if last > middle * (1 + MAX_GROWTH) + 20:
            grown.append(f"{name} has grown from {middle:.0f} to {last:.0f}")
    return grown


def _left(chat: Chat) -> list[str]:
    """What should be gone after the last visitor, and is not."""

    def left() -> Mapping[str, int]:
        with chat.runtime.database.reading() as db:
            sessions, *noted = (
                db.scalar(select(func.count(table.id))) or 0 for table in (Session, Removal, RemovalBatch)
            )
        return {"sessions": sessions, "removals": sum(noted), "keys of sessions": _keys(chat)}

    def broken() -> Sequence[InvariantResult]:
        return [finding for finding in chat.runtime.invariants.check() if finding.ids]

    try:
        wait_for(lambda: not any(left().values()) and not broken(), seconds=60, what="all is gone")
    except AssertionError:
        return [f"left: {left()}", *(f"{finding.name}: {finding.ids}" for finding in broken())]
    return []


@contextmanager
def _installation(visitors: int) -> Iterator[tuple[Chat, Sequence[Part]]]:
    """Everything, and its parts in the order in which they are restarted."""
    with ExitStack() as stack:
        postgres = Postgres(durable=True)
        stack.callback(postgres.close)
        serving = stack.enter_context(child(provider.run))
        url = f"http://127.0.0.1:{serving.receive()}/v1"
        off = dict.fromkeys(LIMITS, "off")  # all visitors have one address
        chat = stack.enter_context(running(url, [MANNER], 4 * visitors, postgres.create(), **off))
        valkey = chat.web.valkey
        services = {
            name: stack.enter_context(process(name, chat.directory, chat.environment)) for name in ("worker", "beat")
        }
        services["chat"] = chat.chat
        wait_for(lambda: not chat.runtime.presence.missing(["sessions"]), seconds=60, what="the worker consumes")

        def restart_valkey() -> None:
            valkey.stop()
            valkey.start()

        def valkey_family() -> list[psutil.Process]:
            assert valkey.process is not None
            return [psutil.Process(valkey.process.pid)]

        yield (
            chat,
            [
                Part("web", lambda: chat.web.processes[0].send_signal(signal.SIGHUP), lambda: chat.web.processes),
                *(
                    Part(name, lambda each=service: each.stop(GRACE), service.family)  # type: ignore[misc]
                    for name, service in services.items()
                ),
                Part("Valkey", restart_valkey, valkey_family),
                Part("PostgreSQL", postgres.restart, postgres.processes),
            ],
        )


if __name__ == "__main__":
    main()
