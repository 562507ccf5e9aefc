"""Tells readers of an answer's finished blocks as HTML, while the answer is written."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from core.generation.attempts import Attempt
from core.generation.events import GenerationEvents

if TYPE_CHECKING:
    from core.conversation.blocks import Block, Blocks, Finished

INTERVAL = 0.15
"""Seconds between two looks at one answer at least: what is finished in between is told together."""


class BlockEvents:
    """Of all answers that this process writes, on its event loop. One thread parses and renders for them, so that
    none holds up the others."""

    def __init__(self, events: GenerationEvents) -> None:
        self._events = events
        self._thread = ThreadPoolExecutor(1, "blocks")
        self._of: WeakKeyDictionary[Attempt, AnswerBlocks] = WeakKeyDictionary()

    async def tell(self, attempt: Attempt, text: str) -> None:
        """Append what is finished by now of an attempt's answer, and have what has come since looked at.

        `text` is what the answer has just got. An attempt that takes an answer over tells all of its blocks again.
        Raises as GenerationEvents does.
        """
        blocks = self._of.get(attempt)
        if blocks is None:
            if not attempt.draft.length:
                return
            from core.conversation.blocks import Blocks  # the front end needs no parser

            blocks = self._of[attempt] = AnswerBlocks(Blocks(), self._thread)
        blocks.add(attempt, text)
        for begin, end, html in blocks.finished():
            await self._events.append_block(attempt, begin, end, html)


class AnswerBlocks:
    """Of one attempt."""

    def __init__(self, blocks: "Blocks", thread: Executor) -> None:
        self._blocks = blocks
        self._thread = thread
        self._looking: asyncio.Future[Finished] | None = None
        self._not_before = 0.0

    def add(self, attempt: Attempt, text: str) -> None:
        """Take what the answer has got, and have it looked at if it is time."""
        known, draft = self._blocks.length, attempt.draft
        if known < draft.length:  # nothing is known yet of what other attempts have written
            self._blocks.add(text if known + len(text) == draft.length else draft.text[known:])
        now = time.monotonic()
        if self._looking is not None or now < self._not_before:
            return
        if whole_lines := self._blocks.look():
            self._not_before = now + INTERVAL
            loop = asyncio.get_running_loop()
            self._looking = loop.run_in_executor(self._thread, self._blocks.finish, whole_lines)

    def finished(self) -> "Sequence[Block]":
        """What the last look has found, once."""
        if self._looking is None or not self._looking.done():
            return ()
        finished, self._looking = self._looking.result(), None
        self._blocks.take(finished)
        return finished.blocks
