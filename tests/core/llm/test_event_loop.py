"""The event loop's thread."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import CancelledError
from threading import Event, get_ident

import pytest
import uvloop

from core.llm.event_loop import EventLoop


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    event_loop = EventLoop(uvloop.new_event_loop)
    yield event_loop
    event_loop.close()


async def ident() -> int:
    return get_ident()


def test_all_runs_in_one_thread_that_is_not_the_callers(loop: EventLoop) -> None:
    assert loop.run(ident()) == loop.run(ident()) != get_ident()


def test_what_is_raised_reaches_the_caller(loop: EventLoop) -> None:
    async def fail() -> None:
        raise LookupError("of the coroutine")

    with pytest.raises(LookupError, match="of the coroutine"):
        loop.run(fail())


def test_closing_cancels_what_is_under_way_and_waits_for_it(loop: EventLoop) -> None:
    begun, ended = Event(), Event()

    async def wait() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    future = loop.submit(wait())
    begun.wait()
    loop.close()
    assert ended.is_set()
    with pytest.raises(CancelledError):
        future.result()


def test_it_starts_again_after_it_was_closed(loop: EventLoop) -> None:
    loop.run(ident())
    loop.close()
    assert loop.run(ident())
