"""Events of many answers that go to Redis together: each has its own end."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from core.conversation.appender import MAX_TOGETHER, Appender
from core.conversation.event_log import AnswerEvent, EventLog, Fenced, LogLost
from core.conversation.keys import keys
from core.conversation.partial_answer import Delta, Size
from core.conversation.position import Position, Producer
from core.stores.redis import AsyncScripts, Redis, RedisUnavailable, ScriptCall
from tests.support.valkey import Valkey

UNTIL = datetime.now(UTC) + timedelta(hours=1)


class _Counted(AsyncScripts):
    """Counts what goes in each round trip."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.together: list[int] = []

    async def run(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run them."""
        self.together.append(len(calls))
        return await super().run(calls)


class _Answers:
    """The logs of so many answers, and one appender for all."""

    def __init__(self, redis: Redis, url: str, count: int) -> None:
        self.log = EventLog(redis)
        self.scripts = _Counted(url)
        self.appender = Appender(self.log, self.scripts)
        self.ids = [(uuid7(), uuid7()) for _ in range(count)]
        for session_id, generation_id in self.ids:
            self.log.begin(session_id, "queued", {}, Producer(generation_id, 1, 0), expires_at=UNTIL, answer="{}")

    async def write(self, text: str, after: int = 0, seq: int = 1) -> list[Position | BaseException]:
        """Append the same words to all answers at once, each of which has so many bytes until then."""
        wanted = [self._write(session_id, generation_id, text, after, seq) for session_id, generation_id in self.ids]
        return await asyncio.gather(*wanted, return_exceptions=True)

    async def _write(self, session_id: UUID, generation_id: UUID, text: str, after: int, seq: int) -> Position:
        producer = Producer(generation_id, 1, seq)
        return await self.appender.write(
            AnswerEvent(
                session_id,
                "delta",
                {"text": text},
                producer,
                expires_at=UNTIL,
                before=Size(after, 0),
                delta=Delta(text),
            )
        )


def test_what_is_wrong_with_one_log_concerns_no_other(redis: Redis, valkey: Valkey) -> None:
    answers = _Answers(redis, valkey.url, 6)
    (taken, of_another), (lost, _), (poisoned, _) = answers.ids[1], answers.ids[2], answers.ids[4]
    answers.log.take_over(taken, of_another, 2)
    redis.delete(keys(lost).meta)
    redis.delete(keys(poisoned).log)
    redis.set(keys(poisoned).log, "no stream")

    async def write() -> list[Position | BaseException]:
        ends = await answers.write("So")
        await answers.scripts.close()
        return ends

    ends = asyncio.run(write())
    assert answers.scripts.together == [6]
    assert [type(end) for end in ends] == [Position, Fenced, LogLost, Position, LogLost, Position]
    kinds = [[event.type for event in answers.log.read(answers.ids[at][0], after=0).events] for at in (0, 3, 5)]
    assert kinds == [["queued", "delta"]] * 3


def test_a_lone_event_goes_at_once_and_those_that_come_meanwhile_go_together(redis: Redis, valkey: Valkey) -> None:
    answers = _Answers(redis, valkey.url, MAX_TOGETHER + 10)

    async def write() -> None:
        first, *others = answers.ids
        alone = asyncio.create_task(answers._write(*first, "So", 0, 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        answers.ids = others
        assert not [end for end in await answers.write("So") if isinstance(end, BaseException)]
        await alone
        await answers.scripts.close()

    asyncio.run(write())
    assert answers.scripts.together == [1, MAX_TOGETHER, 9]


def test_scripts_that_the_server_has_forgotten_are_sent_again(redis: Redis, valkey: Valkey) -> None:
    answers = _Answers(redis, valkey.url, 3)

    async def write() -> None:
        await answers.write("So")
        redis.script_flush()
        ends = await answers.write(".", after=2, seq=2)
        assert [type(end) for end in ends] == [Position] * 3
        await answers.scripts.close()

    asyncio.run(write())
    assert [redis.get(keys(session_id).partial) for session_id, _ in answers.ids] == ["So."] * 3


@pytest.mark.parametrize("restarts", [False, True], ids=["away", "restarted"])
def test_a_redis_that_is_away_is_unavailable_for_all_and_one_that_is_back_is_found(
    own_valkey: Valkey, restarts: bool
) -> None:
    redis = own_valkey.client()
    answers = _Answers(redis, own_valkey.url, 3)

    async def write() -> None:
        await answers.write("So")
        own_valkey.stop()
        if not restarts:
            assert [type(end) for end in await answers.write(".", after=2, seq=2)] == [RedisUnavailable] * 3
        own_valkey.start()
        await answers.write(".", after=2, seq=2)  # over the old connection
        ends = await answers.write(".", after=2, seq=2)
        assert [type(end) for end in ends] == [Position] * 3
        await answers.scripts.close()

    asyncio.run(write())
    assert [redis.get(keys(session_id).partial) for session_id, _ in answers.ids] == ["So."] * 3
