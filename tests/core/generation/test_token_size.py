import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.generation.context_window import Window
from core.generation.token_size import (
    DEFAULT_BYTES_PER_TOKEN,
    MAX_BYTES_PER_TOKEN,
    MAX_STEP,
    MIN_BYTES_PER_TOKEN,
    TOKEN_SIZE_TTL,
    TokenSizes,
    moved,
)
from core.llm.providers.base import Turn
from core.stores.redis import Redis
from tests.support.valkey import Valkey

sizes = st.floats(0, 1e9, allow_nan=False)
WINDOW = Window(500, 3.0)
DIGITS = [Turn("user", "9" * 1000)]
PROSE = [Turn("user", "word " * 200)]


@given(known=st.floats(MIN_BYTES_PER_TOKEN, MAX_BYTES_PER_TOKEN), seen=sizes)
def test_one_answer_moves_it_a_little_towards_what_was_seen(known: float, seen: float) -> None:
    after = moved(known, seen)
    assert MIN_BYTES_PER_TOKEN <= after <= MAX_BYTES_PER_TOKEN
    assert known / MAX_STEP <= after <= known * MAX_STEP
    if MIN_BYTES_PER_TOKEN <= seen <= MAX_BYTES_PER_TOKEN:
        assert min(known, seen) <= after <= max(known, seen)


@given(odd=sizes)
def test_whoever_asks_a_third_of_the_questions_changes_little_for_the_others(odd: float) -> None:
    known = DEFAULT_BYTES_PER_TOKEN
    for _ in range(200):
        for seen in (4.0, odd, 4.2):
            known = moved(known, seen)
    assert 3.7 < known < 4.5


def test_it_is_learned_and_shared(redis: Redis, valkey: Valkey) -> None:
    sizes, elsewhere = TokenSizes(redis), TokenSizes(valkey.client())
    assert sizes.for_model("m") == DEFAULT_BYTES_PER_TOKEN
    for _ in range(100):
        sizes.learn("m", WINDOW, DIGITS, 1005)
    assert elsewhere.for_model("m") == pytest.approx(1.0, rel=0.05)
    assert elsewhere.for_model("other") == DEFAULT_BYTES_PER_TOKEN
    for _ in range(100):
        elsewhere.learn("m", WINDOW, PROSE, 255)
    assert sizes.for_model("m") == pytest.approx(4.0, rel=0.05)
    assert 0 < redis.ttl("sb:bytes-per-token:m") <= TOKEN_SIZE_TTL


@pytest.mark.parametrize("prompt_tokens", [0, -3])
def test_a_count_that_says_nothing_is_no_lesson(redis: Redis, prompt_tokens: int) -> None:
    TokenSizes(redis).learn("m", WINDOW, DIGITS, prompt_tokens)
    assert redis.keys("*") == []


def test_a_short_conversation_is_no_lesson(redis: Redis) -> None:
    """The server's own template may be longer than it."""
    TokenSizes(redis).learn("m", WINDOW, [Turn("user", "Why?")], 300)
    assert redis.keys("*") == []


@given(
    turns=st.lists(st.builds(Turn, st.just("user"), st.text(max_size=2000)), max_size=4), count=st.integers(0, 2**31)
)
def test_nothing_that_is_reported_makes_a_context_vanish(valkey: Valkey, turns: list[Turn], count: int) -> None:
    sizes = TokenSizes(valkey.client())
    before = sizes.for_model("odd")
    sizes.learn("odd", Window(1, 3.0), turns, count)
    assert (
        max(MIN_BYTES_PER_TOKEN, before / MAX_STEP) - 0.001
        <= sizes.for_model("odd")
        <= min(MAX_BYTES_PER_TOKEN, before * MAX_STEP) + 0.001
    )


@pytest.mark.parametrize("stored", ["", "words", "nan", "inf", "-1", "0", "1e400", "1e-400"])
def test_what_else_may_lie_there_does_no_harm(redis: Redis, stored: str) -> None:
    redis.set("sb:bytes-per-token:m", stored)
    sizes = TokenSizes(redis)
    assert MIN_BYTES_PER_TOKEN <= sizes.for_model("m") <= MAX_BYTES_PER_TOKEN
    sizes.learn("m", WINDOW, DIGITS, 1005)
    assert MIN_BYTES_PER_TOKEN <= sizes.for_model("m") <= MAX_BYTES_PER_TOKEN


def test_without_redis_it_is_the_usual_one(own_valkey: Valkey) -> None:
    sizes = TokenSizes(own_valkey.client())
    own_valkey.stop()
    assert sizes.for_model("m") == DEFAULT_BYTES_PER_TOKEN
    sizes.learn("m", WINDOW, DIGITS, 1005)
