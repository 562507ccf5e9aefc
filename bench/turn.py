"""What a question and its answer cost: transactions, statements, commands of Redis, milliseconds to the first token.

    python -m bench.turn [--rounds 15] [--together 64] [--list]

A real Valkey, PostgreSQL, gunicorn and one chat worker, as the Procfile starts them, and a provider of its own. The
reader has its stream of events open, as a page has, and sends `POST /chat`: as a user who is logged in, in a session
of theirs, and as a guest. PostgreSQL itself counts: it logs what it is told. What is told before the log has the
event `done` is counted apart from what follows. Redis's commands are those of MONITOR, of all clients, without what
scripts do inside of it.

The baseline, at the beginning of the same run, is a bare loop of the openai package over the same provider's answer.
"""

import argparse
import json
import math
import re
import select
import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import NamedTuple
from uuid import uuid4

from bench import bare, provider
from bench.chat import Chat, running
from bench.child import Child, child
from bench.provider import Manner
from tests.conftest import new_user
from tests.support.postgres import Postgres
from web.auth.cookies import LOGIN

WORDS = re.compile(rb'event:delta\ndata:[^\n]*"text":"([^"]*)"')
MANNER = Manner(5, 1000)
MAX_TRANSACTIONS, MAX_STATEMENTS = 5, 14
"""Of an owned session's question, from its request to the event `done`, at most."""
PATIENCE = 30.0
"""Seconds between two events."""
QUIET = 0.3
"""Seconds after an answer's end in which all that follows it is done."""
LINE = re.compile(r"(\d+\.\d+) (\d+) (web|worker)\tLOG:  (?:statement|execute [^:]*): (\S+)(.*)")
FRAMES = ("BEGIN", "COMMIT", "ROLLBACK", "SET", ";")
"""What is no statement of ours. The last is the pool's look at whether a connection still works."""
COMMAND = re.compile(rb'\+(\d+\.\d+) \[\d+ (\S+)\] "([^"]+)"(.*)')
END = b'"type" "done"'
"""In what is appended to a log at an answer's end."""


class Told(NamedTuple):
    """Something that a store was told."""

    at: float
    """Unix time in seconds: the database's are whole milliseconds, rounded down."""
    by: str
    """`web` or `worker`; Redis does not know."""
    what: str
    connection: str = ""
    """The database's process."""


class Cost(NamedTuple):
    """What one question has cost."""

    transactions: int
    statements: int
    pings: int
    statements_after: int
    """Beyond the event `done`."""
    commands: int
    first_token: float
    """Milliseconds from the request."""
    web_cpu: float
    worker_cpu: float
    """Milliseconds of a core that the process has used until the event `done` was read."""
    statement_list: Sequence[Told]
    command_list: Sequence[Told]


class Refused(Exception):
    """A question has not been accepted, or the stream that its answer was to come by has ended."""


class Stores:
    """What the stores have been told since the last look."""

    def __init__(self, log: Path, redis_socket: str) -> None:
        self._log = log
        self._read = 0
        self._monitor = socket.socket(socket.AF_UNIX)
        self._monitor.connect(redis_socket)
        self._monitor.sendall(b"MONITOR\r\n")
        self._heard: list[bytes] = []
        Thread(target=self._listen, daemon=True).start()

    def statements(self) -> list[Told]:
        """The database's."""
        with self._log.open(errors="replace") as log:
            log.seek(self._read)
            lines = LINE.findall(log.read())
            self._read = log.tell()
        return [Told(float(at), by, f"{verb}{rest}", connection) for at, connection, by, verb, rest in lines]

    def commands(self) -> tuple[list[Told], float]:
        """Redis's, of its clients, and when it was told of an answer's end."""
        heard, self._heard = self._heard, []
        lines = [line for line in map(COMMAND.match, b"".join(heard).split(b"\r\n")) if line]
        ends = [float(line[1]) for line in lines if END in line[4]]
        outer = [Told(float(line[1]), "", line[3].decode().upper()) for line in lines if line[2] != b"lua"]
        return outer, max(ends, default=0.0)

    def close(self) -> None:
        """End it."""
        self._monitor.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        with self._monitor:
            while block := self._monitor.recv(1 << 16):
                self._heard.append(block)


class Reader:
    """A page: its open stream, and the connection for its requests."""

    def __init__(self, port: int, credentials: str) -> None:
        """`credentials` are header lines."""
        self._head = f"Host: localhost\r\n{credentials}"
        self._stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._stream.sendall(f"GET /chat/sse HTTP/1.1\r\n{self._head}\r\n".encode())
        if not self._stream.recv(1 << 16).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("there is no stream")
        self._requests = socket.create_connection(("127.0.0.1", port), PATIENCE)

    def ask(self) -> float:
        """Ask, and read to the answer's end: milliseconds to its first token."""
        body = json.dumps({"message": "Count."}).encode()
        request = (
            f"POST /chat HTTP/1.1\r\n{self._head}Idempotency-Key: {uuid4()}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}"
        )
        began = time.monotonic()
        self._requests.sendall(f"{request}\r\n\r\n".encode() + body)
        answer = b""
        received = b""
        first_token = 0.0
        while b"event:done\n" not in received:
            for readable in select.select([self._stream, self._requests], [], [], PATIENCE)[0]:
                if readable is self._requests:
                    answer += readable.recv(1 << 16)
                    if not answer.startswith(b"HTTP/1.1 202"):
                        raise Refused(f"not accepted: {answer[:16]!r} ... {answer[-200:]!r}")
                    continue
                block = readable.recv(1 << 16)
                if not block:
                    raise Refused("the stream has ended")
                received += block
                if not first_token and b"event:delta\n" in received:
                    first_token = 1000 * (time.monotonic() - began)
            if time.monotonic() > began + PATIENCE:
                raise RuntimeError(f"not answered: {received[-500:]!r}")
        text = b"".join(WORDS.findall(received)).decode()
        if not MANNER.is_whole(text):
            raise RuntimeError(f"not what the provider sent: {text[-200:]!r}")
        return first_token

    def close(self) -> None:
        """Leave."""
        self._stream.close()
        self._requests.close()


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="questions of each kind (15)")
    parser.add_argument("--together", type=int, default=64, help="questions at once (64)")
    parser.add_argument("--list", action="store_true", help="what the stores were told in the last round")
    options = parser.parse_args()
    with closing(Postgres(durable=True)) as postgres, measured(postgres, options.together) as (chat, stores, loop):
        bare_first = statistics.median(_bare(loop) for _ in range(options.rounds))
        print(
            "to `done`   transactions  statements  pings  after it  Redis  first token  bare loop   CPU: web  worker"
        )
        for kind in ("owned", "guest"):
            costs = questions(chat, stores, options.rounds, owned=kind == "owned")
            middle = [statistics.median(column) for column in list(zip(*costs, strict=True))[:8]]
            print(
                f"{kind:<10} {middle[0]:>13g} {middle[1]:>11g} {middle[2]:>6g} {middle[3]:>9g} {middle[4]:>6g}"
                f" {middle[5]:>9.1f} ms {bare_first:>7.1f} ms {middle[6]:>8.1f} ms {middle[7]:>4.1f} ms",
                flush=True,
            )
            if options.list:
                _list(costs[-1])
        refused = 0
        for _ in range(3):
            firsts = sorted(together(chat, options.together))
            p50, p99 = (firsts[int(len(firsts) * part)] for part in (0.5, 0.99))
            refused += firsts.count(math.inf)
            print(
                f"{options.together} at once: first token p50 {p50:.0f} ms, p99 {p99:.0f} ms,"
                f" {firsts.count(math.inf)} refused",
                flush=True,
            )
        if refused:
            raise SystemExit(f"{refused} of {3 * options.together} questions were not answered")


@contextmanager
def measured(postgres: Postgres, streams: int) -> Iterator[tuple[Chat, Stores, Child]]:
    """The application, what counts its stores, and the bare loop; warm."""
    url = postgres.create()
    with child(provider.run) as serving:
        provider_url = f"http://127.0.0.1:{serving.receive()}/v1"
        with (
            running(provider_url, [MANNER], streams, url) as chat,
            child(bare.run, provider_url, chat.models) as loop,
            closing(Stores(postgres.log_statements(), chat.redis_socket)) as stores,
        ):
            _bare(loop)
            for owned in (True, False):
                questions(chat, stores, 2, owned=owned)
            yield chat, stores, loop


def questions(chat: Chat, stores: Stores, count: int, *, owned: bool) -> list[Cost]:
    """The costs of so many questions in one session, one after the other."""
    with closing(_reader(chat, owned=owned)) as reader:
        return [_question(chat, reader, stores) for _ in range(count)]


def together(chat: Chat, count: int) -> list[float]:
    """Milliseconds to the first token of so many questions that users ask at once."""
    readers = [_reader(chat, owned=True) for _ in range(count)]
    try:
        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(_first_token, readers))
    finally:
        for reader in readers:
            reader.close()


def _first_token(reader: Reader) -> float:
    try:
        return reader.ask()
    except Refused:
        return math.inf


def _question(chat: Chat, reader: Reader, stores: Stores) -> Cost:
    time.sleep(QUIET)
    stores.statements()
    stores.commands()
    processes = (chat.web.worker.pid, chat.worker.pid)
    before = [_cpu(process) for process in processes]
    first_token = reader.ask()
    web_cpu, worker_cpu = (_cpu(process) - used for process, used in zip(processes, before, strict=True))
    time.sleep(QUIET)
    statements, (commands, ended) = stores.statements(), stores.commands()
    told = [each for each in statements if each.at <= ended]
    verbs = Counter(each.what.split()[0] for each in told)
    return Cost(
        transactions(told),
        sum(count for verb, count in verbs.items() if verb not in FRAMES),
        verbs[";"],
        sum(each.what.split()[0] not in FRAMES for each in statements if each.at > ended),
        sum(each.at <= ended for each in commands),
        first_token,
        web_cpu,
        worker_cpu,
        told,
        [each for each in commands if each.at <= ended],
    )


def transactions(told: Sequence[Told]) -> int:
    """How many transactions these statements are: each that no connection has begun one for is one of its own."""
    count, begun = 0, set[str]()
    for each in told:
        verb = each.what.split()[0]
        if verb in ("COMMIT", "ROLLBACK"):
            begun.discard(each.connection)
        elif verb == "BEGIN" or (verb not in FRAMES and each.connection not in begun):
            count += 1
        if verb == "BEGIN":
            begun.add(each.connection)
    return count


def _cpu(process: int) -> float:
    """Milliseconds of a core that a process has used, with those of threads that have ended. The system's ticks are
    too long for one question: this is the process's own clock, as clock_getcpuclockid(3) names it."""
    return 1000 * time.clock_gettime(~process << 3 | 2)


def _bare(loop: Child) -> float:
    """Milliseconds to the first token of the bare loop."""
    loop.send(("sdk", MANNER, 1))
    (answer,), _ = loop.receive()
    return float(answer.arrivals[0] - answer.asked) / 1e6


def _reader(chat: Chat, *, owned: bool) -> Reader:
    """One of a new session."""
    if not owned:
        return Reader(chat.web.port, f"X-Session-ID: {chat.credential(MANNER)}\r\n")
    owner = new_user(chat.runtime.database)
    with chat.runtime.database.writing() as db:
        session = chat.runtime.sessions.create_session(db, owner, model=str(MANNER))
        login = chat.runtime.logins.begin(owner, db)
    return Reader(chat.web.port, f"X-Session-ID: {session.id}\r\nCookie: {LOGIN.plain_name}={login}\r\n")


def _list(cost: Cost) -> None:
    for told in [*cost.statement_list, *cost.command_list]:
        print(f"  {told.at:.3f} {told.by:<7}{told.what[:160]}")


if __name__ == "__main__":
    main()
