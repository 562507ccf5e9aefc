"""`switchboard doctor --stream`: whether events arrive one by one, or something on the way gathers them."""

import json
import time
from dataclasses import dataclass
from itertools import pairwise

import click
import httpx2

from cli.console import fail
from core.llm.providers.base import ProviderError
from core.llm.providers.wire import connection_options

PATH = "/chat/sse/probe"
TIMEOUT = httpx2.Timeout(10.0)
"""Seconds to wait for a connection, and for each next piece of the answer."""
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
    target = url.rstrip("/") + PATH
    try:
        arrivals, compressed = _read(target)
    except ProviderError as error:
        fail(error.log_detail)
    except httpx2.InvalidURL as error:
        fail(f"{url} is not a URL: {error}")
    except httpx2.TimeoutException:
        fail(f"{target} sent nothing for {TIMEOUT.read:.0f} s")
    except httpx2.HTTPError as error:
        fail(f"no stream from {target}: {error or type(error).__name__}")
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


def _read(target: str) -> tuple[list[Arrival], str | None]:
    """When each event came, and the stream's compression if it has one."""
    begun = time.monotonic()
    arrivals: list[Arrival] = []
    expected = 0
    with (
        httpx2.Client(timeout=TIMEOUT, **connection_options(target)) as client,
        # Asked for as browsers ask: a proxy that would compress for them is to compress here.
        client.stream("GET", target, headers={"Accept": "text/event-stream", "Accept-Encoding": "gzip"}) as answer,
    ):
        if answer.status_code != httpx2.codes.OK:
            fail(f"{target} answers {answer.status_code}")
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            fail(f"{target} is not a stream of events: is that Switchboard, and its right version?")
        for line in answer.iter_lines():
            if line.startswith("data:"):
                event = json.loads(line.removeprefix("data:"))
                expected = event["of"]
                arrivals.append(Arrival(time.monotonic() - begun, event["pause"]))
        compressed: str | None = answer.headers.get("content-encoding")
    if not arrivals or len(arrivals) < expected:
        fail(f"the stream from {target} was cut after {len(arrivals)} events")
    return arrivals, compressed
