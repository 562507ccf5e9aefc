"""What servers have named is remembered, when it can be true."""

from typing import Any

import pytest

from core.generation.context_window import Figures, Window
from core.generation.known_limits import KNOWN_LIMIT_TTL, KnownLimits
from core.llm.model_config import ModelConfig
from core.stores.redis import Redis


@pytest.fixture
def known(redis: Redis) -> KnownLimits:
    return KnownLimits(redis)


@pytest.mark.parametrize(
    ("tokens", "limit", "kept"),
    [
        (5000, 4096, 4096),
        (4096, 4096, None),
        (10, 4096, None),
        (None, 4096, None),
        (5000, None, None),
        (300, 255, None),
        (300, 256, 256),
    ],
)
def test_figures_that_show_what_was_too_long_are_kept(
    known: KnownLimits, tokens: int | None, limit: int | None, kept: int | None
) -> None:
    known.learn("m", Figures(tokens, limit))
    assert known.for_model("m") == kept
    assert known.for_model("another") is None


def test_for_a_day_or_until_more_is_taken(known: KnownLimits, redis: Redis) -> None:
    known.learn("m", Figures(5000, 4096))
    assert 0 < redis.ttl("sb:token-limit:m") <= KNOWN_LIMIT_TTL
    known.took("m", 4096)
    assert known.for_model("m") == 4096
    known.took("m", 4097)
    assert known.for_model("m") is None


def test_what_is_no_number_is_none_and_without_redis_nothing_is_known(known: KnownLimits, redis: Redis) -> None:
    redis.set("sb:token-limit:m", "many")
    assert known.for_model("m") is None
    away = KnownLimits(Redis.from_url("redis://127.0.0.1:1"))
    away.learn("m", Figures(5000, 4096))
    away.took("m", 5000)
    assert away.for_model("m") is None


@pytest.mark.parametrize(("limit", "room"), [(None, 7168), (4096, 3072), (100_000, 7168), (1000, 500), (1024, 512)])
def test_the_window_is_no_larger(limit: int | None, room: int) -> None:
    table: dict[str, Any] = {"label": "M", "provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    assert Window.for_model(ModelConfig.model_validate(table), 3.0, limit).room == room
