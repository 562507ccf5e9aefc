"""Appends the events of all the answers that a process writes: those that wait go to Redis together.

A lone one goes at once; while some are on their way, the next gather. So under load a round trip carries more.
"""

import asyncio
from typing import Any, NamedTuple

from core.conversation.event_log import AnswerEvent, EventLog, LogLost, appended
from core.conversation.position import Position
from core.stores.redis import AsyncScripts, RedisDamaged, RedisUnavailable, ScriptCall

MAX_TOGETHER = 256
"""Events in one round trip."""


class _Append(NamedTuple):
    call: ScriptCall
    returned: "asyncio.Future[Any]"


class Appender:
    """Appends to the logs, on an event loop."""

    def __init__(self, log: EventLog, scripts: AsyncScripts) -> None:
        self._log = log
        self._scripts = scripts
        self._waiting: list[_Append] = []
        self._sending: asyncio.Task[None] | None = None

    async def write(self, event: AnswerEvent) -> Position:
        """Do what `EventLog.write` does. What is wrong with one event concerns no other that goes with it."""
        call = self._log.write_call(event)
        loop = asyncio.get_running_loop()
        append = _Append(call, loop.create_future())
        self._waiting.append(append)
        if self._sending is None or self._sending.done():
            self._sending = loop.create_task(self._send())
        return appended(await append.returned)

    async def _send(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting[:MAX_TOGETHER], self._waiting[MAX_TOGETHER:]
            try:
                answers = await self._scripts.run([append.call for append in together])
            except RedisUnavailable as error:
                answers = [error] * len(together)
            for append, answer in zip(together, answers, strict=True):
                if append.returned.done():  # nobody waits for it any more
                    continue
                if isinstance(answer, RedisDamaged):
                    append.returned.set_exception(LogLost())
                elif isinstance(answer, Exception):
                    append.returned.set_exception(answer)
                else:
                    append.returned.set_result(answer)
