"""What is broken for one session or one model holds up no other."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from core.errors import Unavailable
from core.llm.providers import openai_compatible  # noqa: F401  half a second that no first token should wait for
from core.runtime import Runtime
from core.stores.tables import Generation
from tests.conftest import TurnableClock
from tests.core.generation.asking import ask

SLOTS = "sb:{limit}:slots:one-at-a-time"
UNDECODABLE = "[" * 5000 + "]" * 5000
"""JSON that both databases take, and that Python refuses to decode."""


@pytest.fixture
def runtime(settings: Any, any_database_url: str, clock: TurnableClock) -> Iterator[Runtime]:
    """A process on either database."""
    parts = Runtime(settings.model_copy(update={"configured_database_url": any_database_url}), clock=clock)
    yield parts
    parts.close()


@pytest.mark.parametrize("owned", [False, True], ids=["guest", "owned"])
def test_an_end_that_can_not_be_published_does_not_keep_its_session_from_the_next_answer(
    runtime: Runtime, owned: bool
) -> None:
    asked = ask(runtime, "good", owned=owned)
    runtime.writer.run()
    is_sqlite = runtime.database.engine.dialect.name == "sqlite"
    poisoned = asked.generation_id.hex if is_sqlite else str(asked.generation_id)
    with runtime.database.writing() as db:
        db.execute(text("UPDATE generation SET untold = :end WHERE id = :id"), {"end": UNDECODABLE, "id": poisoned})
    again = asked.again()
    runtime.writer.run()
    assert again.message().state == "complete"


def test_with_redis_away_no_answer_begins_before_the_last_ones_end_is_published(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ask(runtime, "good")
    runtime.writer.run()
    with runtime.database.writing() as db:
        db.get_one(Generation, asked.generation_id).unpublished = {"length": 0}

    def away(*_: Any, **__: Any) -> None:
        raise Unavailable

    monkeypatch.setattr(runtime.generation_events, "append_end", away)
    with pytest.raises(Unavailable):
        asked.again()


def test_a_model_whose_slots_can_not_be_counted_holds_up_no_other_models_answers(runtime: Runtime) -> None:
    runtime.redis.set(SLOTS, "no sorted set")
    stuck = ask(runtime, "one-at-a-time")
    other = ask(runtime, "good")
    runtime.writer.run()
    assert other.message().state == "complete"
    with pytest.raises(Unavailable):
        runtime.queue.claim_next()
    runtime.redis.delete(SLOTS)
    claim = runtime.queue.claim_next()
    assert claim is not None
    assert claim.attempt.generation_id == stuck.generation_id


def test_a_redis_that_is_away_is_asked_for_few_models_only(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[str] = []

    def away(model: str, *_: Any) -> None:
        asked_for.append(model)
        raise Unavailable

    for model in ("good", "one-at-a-time", "thinks", "silent", "falls-back-to-busy"):
        ask(runtime, model)
    monkeypatch.setattr(runtime.provider_slots, "acquire", away)
    with pytest.raises(Unavailable):
        runtime.queue.claim_next()
    assert len(asked_for) == 3
