"""`switchboard doctor --stream`: whether events arrive one by one, or something on the way gathers them."""

import asyncio
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import urlsplit

import click

from cli.console import fail
from core.llm.providers.base import ProviderError
from core.llm.providers.events import EventReader
from core.llm.providers.http_client import Client

PATH = "/chat/sse/probe"
TIMEOUT = 10.0
"""Seconds to wait for a connection, and for each next piece of the answer."""
MAX_SHOWN = 100
"""Characters of what was written that are repeated."""
REMEDY = (
    "Some proxy between here and there gathers the answer before it passes it on. Turn that off for /chat/sse:\n"
    "  nginx: proxy_buffering off; gzip off;   (deploy/nginx.conf)\n"
    "  Apache: SetEnv proxy-sendchunked 1, ProxyPass ... flushpackets=on, no mod_deflate for text/event-stream\n"
    "  a CDN or a cloud's load balancer: no response buffering, no compression or other change of the answer"
)


@dataclass(frozen=True)
class Arrival:
    """One event of the probe."""

    at: float
    """Seconds after the request."""
    pause: float
    """Seconds that the server waited before it sent the event."""


def check_stream(url: str) -> None:
    """Say how the events of the server at `url` arrive. Raises CommandError when they don't arrive one by one."""
    if not _is_address(url):
        fail(f"--stream {url[:MAX_SHOWN]}: no address of a server; write http:// or https:// before its name")
    target = url.rstrip("/") + PATH
    try:
        arrivals, compressed = asyncio.run(_read(target))
    except TimeoutError:
        fail(f"{target} sent nothing for {TIMEOUT:.0f} s")
    except ProviderError as error:
        fail(f"no stream from {target}: {error.log_detail}")
    for number, arrival in enumerate(arrivals, start=1):
        click.echo(f"  event {number} after {arrival.at:5.2f} s")
    if compressed:
        click.echo(f"  the stream came compressed ({compressed})")
    gathered = count_batched(arrivals)
    if gathered:
        click.echo(REMEDY)
        fail(f"{gathered} of {len(arrivals)} events came together with the one before")
    click.echo(f"{click.style('✓', fg='green')} {len(arrivals)} events arrived one by one: nothing holds them up")


def count_batched(arrivals: list[Arrival]) -> int:
    """How many events did not come apart from the one before, although they were sent apart."""
    pairs = pairwise(arrivals)
    return sum(later.at - earlier.at < later.pause / 2 for earlier, later in pairs)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


async def _read(target: str) -> tuple[list[Arrival], str | None]:
    """When each event came, and the stream's compression if it has one."""
    begun = time.monotonic()
    arrivals: list[Arrival] = []
    expected = 0
    client = Client(target, connect_timeout=TIMEOUT, head_timeout=TIMEOUT)
    # Asked for as browsers ask: a proxy that would compress for them is to compress here.
    answer = await client.send({"Accept": "text/event-stream", "Accept-Encoding": "gzip"})
    with closing(answer):
        if answer.status != 200:
            fail(f"{target} answers {answer.status}")
        if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            fail(f"{target} is not a stream of events: is that Switchboard, and its right version?")
        events = EventReader()
        while piece := await asyncio.wait_for(answer.read(), TIMEOUT):
            for event in events.feed(piece):
                expected = event.data["of"]
                arrivals.append(Arrival(time.monotonic() - begun, event.data["pause"]))
        compressed = answer.headers.get("Content-Encoding")
    if not arrivals or len(arrivals) < expected:
        fail(f"the stream from {target} was cut after {len(arrivals)} events")
    return arrivals, compressed
