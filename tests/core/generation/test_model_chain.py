"""Which models are asked, in which order: a real record of rests, and no model."""

import pytest
from uuid_utils.compat import uuid7

from core.generation.context_window import TooLong
from core.generation.draft import Draft
from core.generation.model_chain import Failure, ModelChain
from core.llm.cooldown import Cooldowns
from core.llm.providers.base import ErrorKind, ProviderError
from core.stores.redis import Redis

NAMES = ["first", "second", "third"]
BROKEN = ProviderError(ErrorKind.BROKEN_STREAM)


@pytest.fixture
def cooldowns(redis: Redis) -> Cooldowns:
    return Cooldowns(redis)


def _too_long() -> TooLong:
    refusal = ProviderError(ErrorKind.TOO_LONG)
    return TooLong("message", "Your message", 9000, 8000, "First", refusal)


def test_all_are_asked_in_turn_and_the_last_failure_is_reported(cooldowns: Cooldowns) -> None:
    chain, asked = ModelChain(NAMES, cooldowns, Draft()), []
    assert chain.last_failure is None
    for model in chain:
        asked.append(model)
        chain.failed(model, ProviderError(ErrorKind.SERVER_ERROR, model))
    assert asked == NAMES
    assert chain.reported_failure == chain.last_failure
    assert chain.reported_failure.model == "third"


def test_those_that_rest_come_last_but_are_asked(cooldowns: Cooldowns) -> None:
    cooldowns.note_failure("first", ProviderError(ErrorKind.UNREACHABLE), uuid7())
    chain, asked = ModelChain(NAMES, cooldowns, Draft()), []
    for model in chain:
        asked.append(model)
        chain.failed(model, ProviderError(ErrorKind.SERVER_ERROR))
    assert asked == ["second", "third", "first"]


def test_a_model_that_breaks_off_is_asked_once_to_go_on(cooldowns: Cooldowns) -> None:
    draft, asked = Draft(), []
    chain = ModelChain(NAMES[:2], cooldowns, draft)
    for model in chain:
        asked.append(model)
        draft.add_text("word ", 0)
        chain.failed(model, BROKEN)
    assert asked == ["first", "first", "second", "second"]


def test_of_all_failures_the_conversation_that_is_too_long_is_reported(cooldowns: Cooldowns) -> None:
    chain, refusal = ModelChain(NAMES, cooldowns, Draft()), _too_long()
    for model in chain:
        chain.failed(model, refusal if model == "first" else ProviderError(ErrorKind.SERVER_ERROR))
    assert chain.reported_failure == Failure("first", refusal)
    assert chain.last_failure is not None
    assert chain.last_failure.model == "third"
