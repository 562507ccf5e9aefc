"""What a visitor notices while a stranger does what strangers can, without anybody else's password or session.

    python -m bench.bystander [--connections 12050] [--seconds 15] [ATTACK ...]

A real Valkey and gunicorn with the real application; the stranger is a process of its own that opens connections, up
to the given number, and never reads what it is answered. All the while the bystander asks for
/healthz and for its session, each time over a new connection. Fails when the slowest hundredth of its requests took
longer than the bound, or one was not answered with 200.
"""

import argparse
import http.client
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import stranger
from bench.child import child
from core.sessions.credential import Credential
from tests.support.valkey import Valkey
from tests.support.web_process import WebProcess

BOUND = 0.2
"""Seconds within which 99 of 100 of the bystander's requests are answered."""
HEADINGS = "attack          requests  p50 ms  p99 ms  max ms  failed  connections made, open  web MB  CPU s"
PAUSE = 0.02
"""Seconds between two of them."""
PATIENCE = 5.0
"""Seconds after which the bystander gives up on one."""
MARKS = "\u0301\u0316"
"""Two combining marks in the order that normalisation has to change."""

Requests = Callable[[Credential], Sequence[bytes]]


def _post(path: str, body: bytes, *, length: int | None = None) -> bytes:
    announced = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {announced}"
    return f"{head}\r\n\r\n".encode() + body


def _get(path: str, session: Credential | None, *fields: str) -> bytes:
    named = [f"X-Session-ID: {session}"] if session else []
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *named, *fields, "", "")).encode()


def _chunked(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    return f"{head}\r\n\r\n".encode() + body


def _head(fields: int, size: int) -> bytes:
    """One without an end."""
    lines = (f"X-{number}: {'a' * size}\r\n" for number in range(fields))
    return b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + "".join(lines).encode() + b"X: "


def _trailers(fields: int, size: int) -> bytes:
    lines = (f"X-{number}: {'a' * size}\r\n" for number in range(fields))
    return _chunked("/auth/login", b"0\r\n" + "".join(lines).encode() + b"X: ")


def _marks(_: Credential) -> Sequence[bytes]:
    bodies = []
    for times in (1_500, 60_000):  # below and above what a body may have
        for email, password in ((MARKS * times, "x"), ("a@example.org", MARKS * times)):
            body = json.dumps({"email": email, "password": password}, ensure_ascii=False).encode()
            bodies += [_post(path, body) for path in ("/auth/login", "/auth/register")]
    return bodies


def _fields(_: Credential) -> Sequence[bytes]:
    return [_post("/chat", ("{" + ",".join(f'"{number}":1' for number in range(20_000)) + "}").encode())]


@dataclass(frozen=True)
class Attack:
    """What is sent on a connection, given a session of the stranger's own, and how many connections are made in a
    second. The pace of whole requests is one that the process could serve if they were honest: more is a flood, which
    is the business of what stands in front."""

    requests: Requests
    pace: float
    trickles: bool = False
    """Whether single bytes follow, as quickly as they go."""


STALLED = 1_000.0
"""Connections per second, of those that ask for nothing."""
ASKING = 60.0
"""Connections per second, of those that send a request."""

ATTACKS: dict[str, Attack] = {
    "nothing": Attack(lambda _: [], 0),
    "silence": Attack(lambda _: [b""], STALLED),
    "half a head": Attack(lambda _: [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"], STALLED),
    "half a body": Attack(lambda _: [_post(path, b"{", length=100) for path in ("/auth/login", "/chat")], STALLED),
    "marks": Attack(_marks, ASKING),
    "fields": Attack(_fields, ASKING),
    "bodies in vain": Attack(lambda _: [_get("/healthz", None, "Content-Length: 999999")], ASKING),
    "streams": Attack(lambda session: [_get("/chat/sse", session)], ASKING),
    "probes": Attack(lambda session: [_get("/chat/sse/probe", session)], ASKING),
    "a long head": Attack(lambda _: [_head(98, 8_000), _head(3, 8_000)], ASKING, trickles=True),
    "long trailers": Attack(lambda _: [_trailers(98, 8_000), _trailers(1, 3_500)], ASKING, trickles=True),
    "drops of a body": Attack(
        lambda _: [_post("/chat", b'{"x":"', length=200_000), _chunked("/chat", b"30000\r\n"), b"GET /"],
        ASKING,
        trickles=True,
    ),
    "tiny chunks": Attack(
        lambda _: [_chunked(path, b"1\r\na\r\n" * 262_000) for path in ("/auth/login", "/chat")], ASKING
    ),
    "small chunks": Attack(lambda _: [_chunked("/chat", b"30\r\n%s\r\n" % (b"a" * 48) * 6_000)], 10),
    "pipelines": Attack(lambda _: [_get("/", None) * 200], ASKING),
    "unread": Attack(lambda session: [_get("/openapi.json", session) * 100], 1),
}


@dataclass(frozen=True)
class Seen:
    """What the bystander has seen."""

    seconds: Sequence[float]
    failures: Sequence[str]

    def quantile(self, part: float) -> float:
        """Seconds within which that part of the requests was answered."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]

    @property
    def holds(self) -> bool:
        """Whether the bound does."""
        return not self.failures and self.quantile(0.99) <= BOUND


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.bystander", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=12_050)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=f"of {', '.join(ATTACKS)} (all)")
    asked = parser.parse_args()
    unknown = set(asked.attacks) - set(ATTACKS)
    if unknown:
        parser.error(f"there is no attack {min(unknown)!r}; there are {', '.join(ATTACKS)}")
    print(HEADINGS, flush=True)
    held = []
    for name in asked.attacks or ATTACKS:
        with web_process() as web:
            seen, made, still_open = under_attack(
                web, ATTACKS[name], connections=asked.connections, seconds=asked.seconds
            )
            cpu = sum(web.worker.cpu_times()[:2])
            megabytes = web.worker.memory_info().rss / 1e6
            figures = "  ".join(
                f"{1000 * value:6.1f}" for value in (*map(seen.quantile, (0.5, 0.99)), max(seen.seconds))
            )
            print(
                f"{name:14}  {len(seen.seconds):8}  {figures}  {len(seen.failures):6}  {made:16}, {still_open:5}  "
                f"{megabytes:5.0f}  {cpu:5.1f}  {next(iter(seen.failures), '')}",
                flush=True,
            )
            if web.log:
                print(web.log[-2000:])
            held.append(seen.holds and bool(made or not ATTACKS[name].pace))
    if not all(held):
        raise SystemExit(f"not within {1000 * BOUND:g} ms, not answered, or not attacked")


@contextmanager
def web_process() -> Iterator[WebProcess]:
    """One with nothing in it."""
    directory = Path(tempfile.mkdtemp(prefix="sb-bystander-"))
    valkey = Valkey(directory)
    web = WebProcess(directory, valkey)
    try:
        yield web
    finally:
        web.close()
        valkey.stop()
        shutil.rmtree(directory, ignore_errors=True)


def under_attack(web: WebProcess, attack: Attack, *, connections: int, seconds: float) -> tuple[Seen, int, int]:
    """What the bystander sees meanwhile, how many connections the stranger has made, and how many it still has."""
    mine, strangers = web.new_sessions(2)
    sent = attack.requests(strangers)
    look(web.port, mine, seconds=0.2)  # what only first requests cost is not the stranger's doing
    with child(
        stranger.run, web.port, sent or [b""], connections if sent else 0, attack.pace, attack.trickles
    ) as attacking:
        attacking.receive()
        attacking.send("go")
        seen = look(web.port, mine, seconds)
        attacking.send("stop")
        made, still_open = attacking.receive()
    return seen, made, still_open


def look(port: int, session: Credential, seconds: float) -> Seen:
    """Ask by turns, for so many seconds."""
    took, failures = [], []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for path in ("/healthz", "/session/current"):
            began = time.monotonic()
            answer = _ask(port, path, session)
            took.append(time.monotonic() - began)
            if answer != "200":
                failures.append(f"{path}: {answer}")
            time.sleep(PAUSE)
    return Seen(took, failures)


def _ask(port: int, path: str, session: Credential) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"X-Session-ID": str(session)})
        answer = connection.getresponse()
        answer.read()
        return str(answer.status)
    except OSError as error:
        return type(error).__name__
    finally:
        connection.close()


if __name__ == "__main__":
    main()
