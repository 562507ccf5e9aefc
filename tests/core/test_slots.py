"""A provider's slots when workers die or come back: nobody waits for ever, and nobody's slot is given away."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from core.leases import Leases
from core.models import Session
from core.providers import openai_compatible  # noqa: F401  half a second that no first token should wait for
from core.runtime import Runtime
from core.settings import Settings
from tests.provider import ProviderServer
from tests.waiting import wait_for

SLOTS = "sb:{limit}:slots:one-at-a-time"


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    """A process whose leases are short."""
    parts = Runtime(settings.model_copy(update={"lease": timedelta(seconds=1)}))
    yield parts
    parts.close()


def _ask(runtime: Runtime) -> Session:
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(db, secret_hash=bytes(32), model="one-at-a-time")


def test_a_takeover_gets_the_only_slot_when_the_dead_attempts_lease_on_it_lapses(
    runtime: Runtime, provider: ProviderServer
) -> None:
    provider.go_on.set()
    generation_id = runtime.generations.accept(_ask(runtime), "Why?").generation_id
    dead = runtime.attempts.claim(generation_id)
    assert dead is not None
    Leases(runtime.redis, "slots").take("one-at-a-time", dead.holder, 1, timedelta(seconds=3))
    wait_for(lambda: runtime.reaper.reap().handed_on == (generation_id,), what="the lease lapses")

    def ended() -> bool:
        runtime.writer.run()
        return runtime.log.read(dead.session_id, after=0).events[-1].type == "done"

    assert not ended()
    wait_for(ended, what="the slot's lease lapses too")


def test_an_attempt_that_comes_back_does_not_give_its_successors_slot_away(runtime: Runtime) -> None:
    generation_id = runtime.generations.accept(_ask(runtime), "Why?").generation_id
    first = runtime.attempts.claim(generation_id)
    assert first is not None
    runtime.attempts.hand_on(first)
    second = runtime.attempts.claim(generation_id)
    assert second is not None
    assert runtime.slots.move(second, "one-at-a-time")

    first.slot = "one-at-a-time"
    runtime.slots.release(first)

    assert runtime.redis.zcard(SLOTS) == 1
