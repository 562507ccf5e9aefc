"""What has come and waits to be written: bounded, in order, and given up whatever its reader waits for."""

import asyncio
from collections.abc import AsyncGenerator

from core.generation.batch import MAX_BUFFERED, MAX_EMPTY, Batch, Inbox
from core.llm.providers.base import Chunk, ErrorKind, ProviderError, Usage

QUICK = 0.01
"""Seconds to wait for what does not come."""


class _Provider:
    """One that says this, and then fails, ends or is silent."""

    def __init__(self, *chunks: Chunk, error: Exception | None = None, endless: bool = False) -> None:
        self.chunks = chunks
        self.error = error
        self.endless = endless
        self.said = 0
        self.closed = False

    async def stream(self) -> AsyncGenerator[Chunk, None]:
        """What it says."""
        try:
            while True:
                for chunk in self.chunks:
                    self.said += 1
                    yield chunk
                if not self.endless:
                    break
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


async def _heard(provider: _Provider) -> list[Batch]:
    inbox, batches = Inbox(), list[Batch]()
    reading = asyncio.create_task(inbox.fill(provider.stream()))
    while not (batches and batches[-1].ended):
        batches.append(await inbox.take(1))
    await reading
    return batches


def test_what_has_come_is_taken_at_once_with_its_end() -> None:
    said = [Chunk(thinking="Hm"), Chunk("So"), Chunk("."), Chunk(finish_reason="stop"), Chunk(usage=Usage(1, 2))]
    batches = asyncio.run(_heard(_Provider(*said)))
    assert "".join(batch.text for batch in batches) == "So."
    assert batches[-1]._replace(text="", thinking="") == Batch("", True, "stop", Usage(1, 2), None, "", True)


def test_a_flood_of_nothing_has_an_end_and_pings_between_words_have_none() -> None:
    pings = [Chunk()] * (MAX_EMPTY // 2)
    flood = _Provider(Chunk("So"), *pings, *pings, Chunk())
    heard = asyncio.run(_heard(flood))
    ended = heard[-1].error
    assert ("".join(batch.text for batch in heard), ended and ended.kind) == ("So", ErrorKind.BROKEN_STREAM)
    assert flood.closed
    lively = asyncio.run(_heard(_Provider(Chunk("So"), *pings, Chunk("on"), *pings, Chunk(thinking="?"), *pings)))
    assert ("".join(batch.text for batch in lively), lively[-1].error) == ("Soon", None)


def test_an_error_comes_after_the_words_before_it() -> None:
    refused = ProviderError(ErrorKind.QUOTA)
    for raised, kind in ((refused, ErrorKind.QUOTA), (RuntimeError("unexpected"), ErrorKind.BROKEN_STREAM)):
        last = asyncio.run(_heard(_Provider(Chunk("So"), error=raised)))[-1]
        assert (last.text, last.ended, last.error and last.error.kind) == ("So", True, kind)


def test_no_more_waits_than_may_however_long_a_chunk_is_and_the_end_does_not_overtake_it() -> None:
    long = "x" * (3 * MAX_BUFFERED + 5)
    batches = asyncio.run(_heard(_Provider(Chunk(long, finish_reason="stop"))))
    assert max(len(batch.text) for batch in batches) == MAX_BUFFERED
    assert "".join(batch.text for batch in batches) == long
    assert not any(batch.finish_reason for batch in batches[:-2])


def test_a_provider_that_is_not_listened_to_is_read_no_further_and_given_up_at_once() -> None:
    provider = _Provider(Chunk("x" * MAX_BUFFERED), endless=True)

    async def give_up() -> None:
        reading = asyncio.create_task(Inbox().fill(provider.stream()))
        done, _ = await asyncio.wait([reading], timeout=QUICK)
        assert (done, provider.said) == (set(), 2)
        reading.cancel()
        await asyncio.wait([reading], timeout=5)
        assert provider.closed

    asyncio.run(give_up())


def test_one_that_never_pauses_keeps_no_other_from_its_turn() -> None:
    pings = _Provider(Chunk(), endless=True)

    async def take_turns() -> list[Batch]:
        reading = asyncio.create_task(Inbox().fill(pings.stream()))
        try:
            return await asyncio.wait_for(_heard(_Provider(Chunk("So"))), 5)
        finally:
            reading.cancel()

    assert asyncio.run(take_turns())[-1].text == "So"


def test_silence_is_a_batch_without_a_sign_of_life_and_a_ping_is_one_with_it() -> None:
    async def listen(*said: Chunk) -> Batch:
        inbox = Inbox()

        async def stream() -> AsyncGenerator[Chunk, None]:
            for chunk in said:
                yield chunk
            await asyncio.Event().wait()

        reading = asyncio.create_task(inbox.fill(stream()))
        try:
            return await inbox.take(QUICK)
        finally:
            reading.cancel()

    assert asyncio.run(listen()) == Batch()
    assert asyncio.run(listen(Chunk())) == Batch(alive=True)
