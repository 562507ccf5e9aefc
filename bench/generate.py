"""What stands between a provider's tokens and their readers: tokens a second, delay, memory.

    python -m bench.generate [tokens] [delay] [memory] [--quick]

A real Valkey, SQLite, gunicorn and one chat worker, started as the Procfile starts them (with threads for the most
streams that are asked for), and a provider that answers as fast as it is read; processes of their own on this
machine's loopback. The baselines, in the same run and by turns, are bare loops: one process whose threads iterate
over the chunks from the same provider and join them. `sdk` has them from the openai package, `pool` from our own
client of it, as the worker does.

tokens   Answers to so many questions at once, from the first task queued to the last end in an event log.
delay    From the provider's sending of a token to its arrival at the reader of a POST /chat/sse.
memory   By how much the worker's resident memory grows with each slow stream.

Every answer is compared with what was sent. A raw socket that only counts the provider's bytes shows that the
provider is not what is measured.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from bench import bare, browser, provider
from bench.bare import Answer
from bench.chat import Chat, running
from bench.child import Child, child
from bench.provider import PACED, Manner

PARTS = ("tokens", "delay", "memory")
SHARE = 0.6
"""Of the bare loop's tokens a second, at the most streams: what is wanted at least."""
DELAY = 10.0
"""Milliseconds that half of all tokens of one stream may be delayed at most."""
WARM = Manner(20, 1000)
STREAM_MEMORY = 60.0
"""kB that an answer being written may cost the worker at most, where there are `MANY`."""
MANY = 256
STEADY = 1.0
"""Seconds for which all of them have gone on when memory is looked at."""


@dataclass(frozen=True)
class Plan:
    """What is to be measured."""

    parts: Sequence[str]
    streams: Sequence[int]
    paces: Sequence[int]
    rounds: int
    quick: bool

    def fast(self, streams: int) -> Manner:
        """Answers long enough that their beginnings and ends don't count for more than they do in use."""
        tokens = min(8000, max(500, 16_000 // streams))
        return Manner(tokens // 4 if self.quick else tokens)

    @property
    def paced(self) -> list[tuple[int, Manner]]:
        """For each measurement of delay, how many streams there are, and answers that last for some seconds."""
        seconds = 2 if self.quick else 4
        most = max(self.streams)
        alone = [(1, Manner(seconds * pace // 2, pace)) for pace in self.paces]
        return [*alone, (most, Manner(seconds * self.paces[0], self.paces[0]))] if most > 1 else alone

    @property
    def slow(self) -> Manner:
        """Answers that last longer than it takes for all of them to begin, and then for `STEADY`."""
        return Manner(8 + max(self.streams) // 6, 2)

    @property
    def manners(self) -> list[Manner]:
        """All that the provider is asked for."""
        fast = [self.fast(count) for count in self.streams]
        return list(dict.fromkeys([WARM, *fast, *(manner for _, manner in self.paced), self.slow]))


def main() -> None:
    """Run what the command line asks for."""
    plan = _asked()
    with child(provider.run) as serving:
        port = serving.receive()
        url = f"http://127.0.0.1:{port}/v1"
        with running(url, plan.manners, max(plan.streams)) as chat, child(bare.run, url, chat.models) as loop:
            _read_bare(loop, "sdk", WARM, 1)
            _read_bare(loop, "pool", WARM, 1)
            _answer(chat, WARM, 1)
            _ask(chat, WARM, 1)
            # First, for memory that a process has had once it keeps.
            if "memory" in plan.parts:
                _memory(plan, chat, loop)
            if "tokens" in plan.parts:
                _tokens(plan, chat, loop, port)
            if "delay" in plan.parts:
                _delay(plan, chat, loop)


def _asked() -> Plan:
    parser = argparse.ArgumentParser(
        prog="python -m bench.generate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="tokens, delay, memory (all of them)")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 64], help="answers at once (1 16 64)")
    parser.add_argument("--pace", type=int, nargs="+", default=[30, 100], help="tokens/s where it's delay (30 100)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of the bare loop and of Switchboard (3)")
    parser.add_argument("--quick", action="store_true", help="one round of shorter answers, in half a minute")
    asked = parser.parse_args()
    if not set(asked.parts) <= set(PARTS):
        parser.error(f"the parts are {', '.join(PARTS)}")
    if not all(1 <= count <= 512 for count in asked.streams):
        parser.error("a worker writes up to 512 answers at once")
    if not (all(1 <= pace <= 1000 for pace in asked.pace) and 1 <= asked.rounds <= 100):
        parser.error("that would take too long, or too much")
    rounds = 1 if asked.quick else asked.rounds
    return Plan(asked.parts or PARTS, sorted(asked.streams), asked.pace, rounds, asked.quick)


def _tokens(plan: Plan, chat: Chat, loop: Child, port: int) -> None:
    print("tokens a second                   bare loops        Switchboard               CPU")
    print("streams x tokens  raw socket      sdk     pool         / sdk  / pool    worker  Valkey   / sdk by round")
    for streams in plan.streams:
        manner = plan.fast(streams)
        total = streams * manner.tokens
        raw = provider.read_raw(port, manner, streams)
        _read_bare(loop, "sdk", WARM, streams)
        _read_bare(loop, "pool", WARM, streams)
        _answer(chat, WARM, streams)
        sdk, pool, ours, usages = [], [], [], []
        for _ in range(plan.rounds):
            sdk.append(total / _read_bare(loop, "sdk", manner, streams)[1])
            pool.append(total / _read_bare(loop, "pool", manner, streams)[1])
            seconds, usage = _answer(chat, manner, streams)
            ours.append(total / seconds)
            usages.append(usage)
        of_sdk, of_pool = ([mine / its for mine, its in zip(ours, bare, strict=True)] for bare in (sdk, pool))
        worker, valkey = (statistics.median(column) for column in zip(*usages, strict=True))
        speeds = [f"{statistics.median(speed):>9,.0f}" for speed in (sdk, pool, ours)]
        print(
            f"{streams:>7} x {manner.tokens:<6} {raw:>11,.0f}{''.join(speeds)}"
            f" {statistics.median(of_sdk):>6.2f} {statistics.median(of_pool):>7.2f} {worker:>9.0%} {valkey:>7.0%}"
            f"   {' '.join(f'{share:.2f}' for share in of_sdk)}" + (f", target {SHARE:.2f}" if streams >= 64 else ""),
            flush=True,
        )


def _answer(chat: Chat, manner: Manner, streams: int) -> tuple[float, list[float]]:
    """How many seconds the worker takes for so many answers at once, and how much of a core it and Valkey use
    meanwhile. Taking the questions is not its work."""
    questions = chat.accept(manner, streams)
    before, began = _cpu(chat.worker, chat.valkey), time.monotonic()
    chat.queue_all(questions)
    chat.await_ends(questions)
    after, seconds = _cpu(chat.worker, chat.valkey), time.monotonic() - began
    chat.check(questions)
    return seconds, [(used - earlier) / seconds for earlier, used in zip(before, after, strict=True)]


def _read_bare(loop: Child, name: str, manner: Manner, streams: int) -> tuple[list[Answer], float]:
    """So many answers at once in one of the bare loops, and how many seconds it takes for them."""
    loop.send((name, manner, streams))
    answers, seconds = loop.receive()
    _check(manner, answers)
    return answers, seconds


def _check(manner: Manner, answers: Sequence[Answer]) -> None:
    whole = sum(manner.is_whole(answer.text) for answer in answers)
    if whole < len(answers):
        raise RuntimeError(f"only {whole} of {len(answers)} readers have got what the provider sent")


def _cpu(*processes: psutil.Process) -> list[float]:
    """Seconds that the processes have used so far."""
    return [sum(process.cpu_times()[:2]) for process in processes]


def _delay(plan: Plan, chat: Chat, loop: Child) -> None:
    print("delay of a token in ms           first     p50     p95      max   question to first   tokens/s     CPU")
    reading = psutil.Process(loop.pid)
    for streams, manner in plan.paced:
        theirs, ours = _Heard(reading), _Heard(chat.worker)
        for _ in range(plan.rounds if streams == 1 else 1):  # many streams have tokens enough
            with theirs.listening():
                theirs.answers += _read_bare(loop, "sdk", manner, streams)[0]
            with ours.listening():
                ours.answers += _ask(chat, manner, streams)
        wanted = f"   target: p50 below {DELAY:.0f}" if streams == 1 else f"   sent {streams * manner.rate}/s"
        theirs.tell(f"{streams} x {manner.rate}/s, sdk")
        ours.tell(f"{streams} x {manner.rate}/s, Switchboard", wanted)


class _Heard:
    """Paced answers, and what reading them took of a process."""

    def __init__(self, process: psutil.Process) -> None:
        self.answers: list[Answer] = []
        self._process = process
        self._seconds = self._cpu = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While they are read."""
        (before,), began = _cpu(self._process), time.monotonic()
        yield
        self._seconds += time.monotonic() - began
        self._cpu += _cpu(self._process)[0] - before

    def tell(self, name: str, wanted: str = "") -> None:
        """Print the delays, in milliseconds."""
        delays, firsts, waits = [], [], []
        for answer in self.answers:
            stamps = [int(stamp) for _, stamp in PACED.findall(answer.text)]
            ages = [(arrival - stamp) / 1e6 for stamp, arrival in zip(stamps, answer.arrivals, strict=True)]
            delays += ages
            firsts.append(ages[0])
            waits.append((answer.arrivals[0] - answer.asked) / 1e6)
        delays.sort()
        p50, p95, most = (delays[min(len(delays) - 1, int(len(delays) * part))] for part in (0.5, 0.95, 1))
        first, wait = statistics.median(firsts), statistics.median(waits)
        print(
            f"{name:<30} {first:>7.1f} {p50:>7.1f} {p95:>7.1f} {most:>8.1f} {wait:>19.1f}"
            f" {len(delays) / self._seconds:>10,.0f} {self._cpu / self._seconds:>7.0%}{wanted}",
            flush=True,
        )


def _ask(chat: Chat, manner: Manner, streams: int) -> list[Answer]:
    """As many readers' questions and answers at once."""
    credentials = [chat.credential(manner) for _ in range(streams)]
    with ThreadPoolExecutor(streams) as threads:
        answers = list(threads.map(lambda credential: browser.ask(chat.web.port, credential), credentials))
    _check(manner, answers)
    return answers


def _memory(plan: Plan, chat: Chat, loop: Child) -> None:
    streams, slow = max(plan.streams), plan.slow
    reading = psutil.Process(loop.pid)
    # Before the first is accepted: the worker looks by itself what waits.
    bare_idle, idle = reading.memory_info().rss, chat.worker.memory_info().rss
    questions = chat.accept(slow, streams)
    loop.send(("sdk", slow, streams))
    chat.queue_all(questions)
    chat.await_beginnings(questions)
    time.sleep(STEADY)
    bare_busy, busy, looked = reading.memory_info().rss, chat.worker.memory_info().rss, time.monotonic_ns()
    _require_all("Switchboard", chat.live(questions), streams)
    answers, _ = loop.receive()
    _require_all("the bare loop", sum(answer.arrivals[-1] > looked for answer in answers), streams)
    chat.await_ends(questions)
    chat.check(questions)
    theirs, ours = bare_busy - bare_idle, busy - idle
    print(f"worker's memory: {idle / 1e6:.0f} MB idle, {busy / 1e6:.0f} MB with {streams} slow streams:")
    print(
        f"{ours / streams / 1000:.0f} kB a stream; bare loop {theirs / streams / 1000:.0f} kB;"
        f" ratio {ours / theirs:.1f}" + (f"; target: at most {STREAM_MEMORY:.0f} kB" if streams >= MANY else "")
    )


def _require_all(name: str, live: int, streams: int) -> None:
    """Fail when memory was looked at while some had ended: then it says nothing about one."""
    if live < streams:
        raise RuntimeError(f"{name} was writing only {live} of {streams} answers when its memory was looked at")


if __name__ == "__main__":
    main()
