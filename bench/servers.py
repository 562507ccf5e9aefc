"""The servers that are compared, each over the Valkey it is given."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psutil

from core.conversation.keys import channel
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import ROOT, WebProcess, free_port


@dataclass(frozen=True)
class Server:
    """What is measured: a process, and the request that opens the stream of each session."""

    name: str
    process: psutil.Process
    port: int
    session_ids: Sequence[UUID]
    requests: Sequence[bytes]
    greets: bool
    """Whether a stream is answered before its first event."""


@contextmanager
def switchboard(directory: Path, valkey: Valkey, sessions: int) -> Iterator[Server]:
    """The real application."""
    # What is measured is readers, and all of them come from this machine.
    off = dict.fromkeys(("SWITCHBOARD_STREAMS_SESSION", "SWITCHBOARD_STREAMS_ADDRESS"), "off")
    web = WebProcess(directory, valkey, **off)
    try:
        issued = web.new_sessions(sessions)
        requests = [_get("/chat/sse", f"X-Session-ID: {credential}\r\n") for credential in issued]
        ids = [credential.session_id for credential in issued]
        yield Server("Switchboard", web.worker, web.port, ids, requests, greets=True)
        if web.log:
            print(web.log[-2000:], file=sys.stderr)
    finally:
        web.close()


@contextmanager
def flask_sse(directory: Path, valkey: Valkey, sessions: int) -> Iterator[Server]:
    """flask-sse's blueprint as it comes, on gunicorn with gevent. Each reader names its session's channel."""
    port = free_port()
    command = f"gunicorn --bind 127.0.0.1:{port} --worker-class gevent --worker-connections 12000 bench.stock:app"
    with (directory / "stock.log").open("wb") as log:
        process = psutil.Popen(
            [sys.executable, "-m", *command.split()],
            cwd=ROOT,
            env={**os.environ, "REDIS_URL": valkey.url},
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        wait_for(process.children, what="gunicorn has a worker")
        wait_for(lambda: "Booting worker" in (directory / "stock.log").read_text(), what="the worker runs")
        ids = [UUID(int=number) for number in range(1, sessions + 1)]
        requests = [_get(f"/stream?channel={channel(session_id)}") for session_id in ids]
        yield Server("flask-sse", process.children()[0], port, ids, requests, greets=False)
    finally:
        for running in [*process.children(), process]:
            running.kill()
        process.wait(10)


def _get(target: str, headers: str = "") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{headers}\r\n".encode()
