"""Which failures begin a model's cooldown, how long it lasts, and what ends it."""

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from core.llm.cooldown import (
    COOLDOWN_TTL,
    MAX_PROBE_DELAY,
    MIN_PROBE_DELAY,
    PROBE_DELAYS,
    Cooldown,
    Cooldowns,
    probe_delay,
)
from core.llm.providers.base import ErrorKind, ProviderError
from core.stores.redis import Redis, RedisUnavailable

ONE, ANOTHER, THIRD = uuid7(), uuid7(), uuid7()
MODEL = "gpt"
OF_ONE_QUESTION = sorted(set(ErrorKind) - set(PROBE_DELAYS))


@pytest.fixture
def cooldowns(redis: Redis) -> Cooldowns:
    return Cooldowns(redis)


@pytest.fixture
def away() -> Cooldowns:
    return Cooldowns(Redis.from_url("redis://127.0.0.1:1"))


def _fail(
    cooldowns: Cooldowns, kind: ErrorKind, owner: UUID = ONE, retry_after: float | None = None, said: str = ""
) -> None:
    error = ProviderError(kind, "HTTP 599", retry_after, provider_message=said)
    with pytest.raises(ProviderError) as raised, cooldowns.watch(MODEL, owner):
        raise error
    assert raised.value is error


def _complain(cooldowns: Cooldowns, *owners: UUID) -> None:
    for owner in owners:
        _fail(cooldowns, ErrorKind.SERVER_ERROR, owner)


def _answer(cooldowns: Cooldowns) -> None:
    with cooldowns.watch(MODEL, ONE):
        pass


def _rests(cooldowns: Cooldowns) -> bool:
    return cooldowns.in_cooldown([MODEL]) == {MODEL}


def _wait_for_probe(redis: Redis) -> None:
    """Let the time before the next probe be over."""
    assert redis.delete(f"sb:resting:{MODEL}")


def test_what_lies_in_one_question_is_known() -> None:
    assert OF_ONE_QUESTION == ["broken-stream", "empty", "filtered", "rejected", "timeout", "too-long"]


@pytest.mark.parametrize("kind", OF_ONE_QUESTION)
def test_no_number_of_questions_that_fail_by_themselves_makes_a_model_rest(
    cooldowns: Cooldowns, kind: ErrorKind
) -> None:
    for owner in (ONE, ONE, ANOTHER, uuid7()):
        _fail(cooldowns, kind, owner, retry_after=60)
    assert not _rests(cooldowns)


@pytest.mark.parametrize("kind", sorted(set(PROBE_DELAYS) - {ErrorKind.SERVER_ERROR}))
def test_what_concerns_everybody_makes_it_rest_at_once(cooldowns: Cooldowns, kind: ErrorKind) -> None:
    _fail(cooldowns, kind)
    assert _rests(cooldowns)
    assert cooldowns.in_cooldown(["another"]) == set()


class TestErrorsOfTheServersOwn:
    def test_those_that_one_owner_meets_hide_nothing_from_others(self, cooldowns: Cooldowns) -> None:
        for _ in range(20):
            _fail(cooldowns, ErrorKind.SERVER_ERROR, ONE)
        assert not _rests(cooldowns)

    def test_nor_do_those_of_two_who_may_be_one(self, cooldowns: Cooldowns) -> None:
        for _ in range(10):
            _fail(cooldowns, ErrorKind.SERVER_ERROR, ONE)
            _fail(cooldowns, ErrorKind.SERVER_ERROR, ANOTHER)
        assert not _rests(cooldowns)

    def test_three_owners_are_enough(self, cooldowns: Cooldowns) -> None:
        _complain(cooldowns, ONE, ANOTHER, THIRD)
        assert _rests(cooldowns)

    def test_the_same_three_are_not_enough_twice(self, cooldowns: Cooldowns, redis: Redis) -> None:
        _complain(cooldowns, ONE, ANOTHER, THIRD)
        cooldowns.end(MODEL)
        _complain(cooldowns, *[ONE, ANOTHER, THIRD] * 3, uuid7(), uuid7())
        assert not _rests(cooldowns)
        _complain(cooldowns, uuid7())
        assert _rests(cooldowns), "three others"
        assert 0 < redis.ttl(f"sb:heard:{MODEL}") <= 600

    def test_not_with_a_success_between(self, cooldowns: Cooldowns) -> None:
        _fail(cooldowns, ErrorKind.SERVER_ERROR, ONE)
        _fail(cooldowns, ErrorKind.SERVER_ERROR, ANOTHER)
        _answer(cooldowns)
        _complain(cooldowns, THIRD, ONE)
        assert not _rests(cooldowns)

    def test_nor_more_than_a_minute_apart(self, cooldowns: Cooldowns, redis: Redis) -> None:
        _fail(cooldowns, ErrorKind.SERVER_ERROR, ONE)
        redis.expire(f"sb:complaints:{MODEL}", 30)
        _fail(cooldowns, ErrorKind.SERVER_ERROR, ANOTHER)
        assert 0 < redis.ttl(f"sb:complaints:{MODEL}") <= 30, "since the first"
        redis.delete(f"sb:complaints:{MODEL}")
        _complain(cooldowns, THIRD, ONE)
        assert not _rests(cooldowns)


class TestHowLong:
    @pytest.mark.parametrize(
        ("asked", "seconds"),
        [
            (None, 10),
            (3, 3),
            (60, 60),
            (1e9, MAX_PROBE_DELAY),
            (float("inf"), MAX_PROBE_DELAY),
            (0, MIN_PROBE_DELAY),
            (-5, MIN_PROBE_DELAY),
        ],
    )
    def test_a_provider_that_says_when_it_wants_to_be_asked_again_is_heard(
        self, cooldowns: Cooldowns, redis: Redis, asked: float | None, seconds: float
    ) -> None:
        _fail(cooldowns, ErrorKind.RATE_LIMITED, retry_after=asked)
        assert redis.pttl(f"sb:resting:{MODEL}") == pytest.approx(seconds * 1000, abs=500)

    def test_what_is_not_a_number_is_not_waited_for(self) -> None:
        assert probe_delay(Cooldown(ErrorKind.RATE_LIMITED), float("nan")) == MIN_PROBE_DELAY

    @given(
        st.sampled_from(list(ErrorKind)),
        st.integers(0, 1_000_000),
        st.none() | st.floats(),
    )
    def test_it_is_bounded_and_never_gets_shorter(self, kind: ErrorKind, probes: int, asked: float | None) -> None:
        now, later = (probe_delay(Cooldown(kind, "", count), asked) for count in (probes, probes + 1))
        assert MIN_PROBE_DELAY <= now <= later <= MAX_PROBE_DELAY

    def test_it_doubles_with_each_probe_that_fails(self, cooldowns: Cooldowns, redis: Redis) -> None:
        _fail(cooldowns, ErrorKind.UNREACHABLE)
        waited = []
        for _ in range(6):
            waited.append(round(redis.pttl(f"sb:resting:{MODEL}") / 1000))
            cooldowns.note_probe_failure(MODEL, ProviderError(ErrorKind.UNREACHABLE))
        assert waited == [2, 4, 8, 10, 10, 10]

    def test_questions_that_fail_meanwhile_put_the_next_probe_off_no_further(
        self, cooldowns: Cooldowns, redis: Redis
    ) -> None:
        _fail(cooldowns, ErrorKind.UNREACHABLE)
        _wait_for_probe(redis)
        for owner in (ONE, ANOTHER, ONE, ANOTHER):
            _fail(cooldowns, ErrorKind.UNREACHABLE, owner)
            _fail(cooldowns, ErrorKind.SERVER_ERROR, owner)
        assert set(cooldowns.due_for_probe([MODEL])) == {MODEL}

    def test_but_a_provider_that_asks_for_time_has_it(self, cooldowns: Cooldowns, redis: Redis) -> None:
        _fail(cooldowns, ErrorKind.UNREACHABLE)
        _wait_for_probe(redis)
        _fail(cooldowns, ErrorKind.RATE_LIMITED, retry_after=30)
        assert cooldowns.due_for_probe([MODEL]) == {}

    def test_without_probes_it_is_forgotten(self, cooldowns: Cooldowns, redis: Redis) -> None:
        _fail(cooldowns, ErrorKind.UNAUTHORIZED)
        assert 0 < redis.ttl(f"sb:suspect:{MODEL}") <= COOLDOWN_TTL + 10


class TestTheEnd:
    def test_the_first_success_ends_it_and_what_was_counted(self, cooldowns: Cooldowns, redis: Redis) -> None:
        _fail(cooldowns, ErrorKind.UNREACHABLE)
        cooldowns.note_probe_failure(MODEL, ProviderError(ErrorKind.UNREACHABLE))
        _answer(cooldowns)
        assert not _rests(cooldowns)
        assert list(redis.scan_iter(f"sb:*:{MODEL}")) == []
        _fail(cooldowns, ErrorKind.UNREACHABLE)
        assert cooldowns.active([MODEL])[MODEL].probes == 0

    def test_an_answer_that_began_before_does_not(self, cooldowns: Cooldowns) -> None:
        with cooldowns.watch(MODEL, ONE):  # a long answer
            _fail(cooldowns, ErrorKind.RATE_LIMITED, ANOTHER, retry_after=60)
        assert _rests(cooldowns)

    def test_a_probe_that_fails_after_a_question_was_answered_begins_none(self, cooldowns: Cooldowns) -> None:
        _fail(cooldowns, ErrorKind.UNREACHABLE)
        _answer(cooldowns)
        cooldowns.note_probe_failure(MODEL, ProviderError(ErrorKind.UNREACHABLE))
        assert not _rests(cooldowns)

    def test_what_is_no_failure_of_the_provider_says_nothing(self, cooldowns: Cooldowns) -> None:
        _fail(cooldowns, ErrorKind.UNREACHABLE)
        with pytest.raises(KeyError), cooldowns.watch(MODEL, ONE):  # as a stop, or a lost lease
            raise KeyError
        assert _rests(cooldowns)


def test_the_providers_last_words_are_kept_with_the_rest_and_bounded(cooldowns: Cooldowns, redis: Redis) -> None:
    _fail(cooldowns, ErrorKind.QUOTA, said="You exceeded your current quota. " * 100)
    rest = cooldowns.active([MODEL])[MODEL]
    assert rest.kind is ErrorKind.QUOTA
    assert rest.provider_message.startswith("You exceeded your current quota.")
    assert len(rest.provider_message) == 300
    cooldowns.note_probe_failure(MODEL, ProviderError(ErrorKind.UNAUTHORIZED, "HTTP 401"))
    assert cooldowns.active([MODEL])[MODEL] == Cooldown(ErrorKind.UNAUTHORIZED, "HTTP 401", 1)
    assert redis.ttl(f"sb:suspect:{MODEL}") > 0


@pytest.mark.parametrize(
    ("kept", "kind"),
    [
        ("broken-stream", ErrorKind.BROKEN_STREAM),  # as it was kept before there were words
        ("a kind of a newer version", ErrorKind.SERVER_ERROR),
        ("{}", ErrorKind.SERVER_ERROR),
        ("null", ErrorKind.SERVER_ERROR),
        (json.dumps(["quota", "words", 2]), ErrorKind.QUOTA),
    ],
)
def test_what_other_versions_have_kept_is_read(
    cooldowns: Cooldowns, redis: Redis, kept: str, kind: ErrorKind
) -> None:
    redis.set(f"sb:suspect:{MODEL}", kept)
    assert cooldowns.active([MODEL])[MODEL].kind is kind


def test_one_probe_at_a_time(cooldowns: Cooldowns, redis: Redis) -> None:
    _fail(cooldowns, ErrorKind.UNREACHABLE)
    assert cooldowns.due_for_probe([MODEL]) == {}
    _wait_for_probe(redis)
    assert set(cooldowns.due_for_probe([MODEL, "well"])) == {MODEL}
    rest = Cooldown(ErrorKind.UNREACHABLE, "HTTP 599")
    assert [cooldowns.begin_probe(MODEL) for _ in range(3)] == [rest, None, None]
    redis.expire(f"sb:probe:{MODEL}", 1)
    cooldowns.renew_probe(MODEL)
    assert redis.ttl(f"sb:probe:{MODEL}") > 5
    cooldowns.end_probe(MODEL)
    assert cooldowns.begin_probe(MODEL)
    cooldowns.note_probe_failure(MODEL, ProviderError(ErrorKind.UNREACHABLE))
    cooldowns.end_probe(MODEL)
    assert cooldowns.begin_probe(MODEL) is None  # by one that has looked before the other was done
    cooldowns.end(MODEL)
    assert cooldowns.begin_probe(MODEL) is None
    assert not redis.exists(f"sb:probe:{MODEL}")


def test_without_redis_an_answer_is_none_the_worse(away: Cooldowns) -> None:
    _answer(away)
    _fail(away, ErrorKind.UNREACHABLE)
    with pytest.raises(RedisUnavailable):
        away.in_cooldown([MODEL])


def test_workers_that_fail_and_succeed_at_once_leave_nothing_for_ever(redis: Redis) -> None:
    def work(seed: int) -> None:
        chance, mine = random.Random(seed), Cooldowns(redis)
        for _ in range(60):
            error = ProviderError(chance.choice(list(ErrorKind)), retry_after=chance.choice([None, None, 5]))
            actions: list[Callable[[], object]] = [
                partial(mine.note_failure, MODEL, error, uuid7()),
                partial(mine.note_probe_failure, MODEL, error),
                partial(mine.begin_probe, MODEL),
                partial(mine.end, MODEL),
            ]
            chance.choice(actions)()
            assert all(rest.probes < 60 * 6 for rest in mine.active([MODEL]).values())

    with ThreadPoolExecutor() as workers:
        list(workers.map(work, range(6)))
    for key in redis.scan_iter(f"sb:*:{MODEL}"):
        assert redis.ttl(key) > 0, key
    Cooldowns(redis).end(MODEL)
    assert set(redis.scan_iter(f"sb:*:{MODEL}")) <= {f"sb:heard:{MODEL}"}


def test_each_failure_is_counted_and_each_beginning_once(redis: Redis) -> None:
    counted: list[tuple[str, str]] = []
    cooldowns = Cooldowns(
        redis, lambda _, kind: counted.append(("failed", kind)), lambda _, kind: counted.append(("rests", kind))
    )
    for _ in range(2):
        with pytest.raises(ProviderError), cooldowns.watch(MODEL, uuid7()):
            raise ProviderError(ErrorKind.QUOTA, retry_after=60)
    cooldowns.note_probe_failure(MODEL, ProviderError(ErrorKind.QUOTA))
    failed, rests = ("failed", "quota"), ("rests", "quota")
    assert counted == [failed, rests, failed]
    cooldowns.end(MODEL)
    cooldowns.note_failure(MODEL, ProviderError(ErrorKind.QUOTA), uuid7())
    assert counted == [failed, rests, failed, rests]
