"""Probes of models that rest, against a server whose trouble ends, or does not."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from uuid_utils.compat import uuid7

from core.llm.cooldown import Cooldown
from core.llm.probe import MAX_PROBE_TIMEOUT, first_sign, probe_timeout, short_answer
from core.llm.providers.base import Chunk, ErrorKind, ProviderError
from core.runtime import Runtime
from core.settings import Settings
from core.stores.redis import RedisUnavailable
from tests.support.provider import Handler, Manner, ProviderServer
from tests.support.reading import LOOP
from tests.support.waiting import wait_for


class Moody(ProviderServer):
    """A server whose one model has the manners of the day."""

    def __init__(self) -> None:
        self.mood = "good"
        super().__init__({"moody": lambda handler: self.manners[self.mood](handler)} | MOODS)

    def asked(self) -> int:
        """How often its model was asked."""
        return len(self.requests)


def _no_words(handler: Handler) -> None:
    handler.begin()
    handler.conclude("length")


def _held(handler: Handler) -> None:
    handler.owner.go_on.wait(20)
    _no_words(handler)


def _nothing(_: Handler) -> None:
    """The connection just ends."""


MOODS: dict[str, Manner] = {"no-words": _no_words, "held": _held, "stopped-short": _nothing}


@pytest.fixture
def server() -> Iterator[Moody]:
    moody = Moody()
    yield moody
    moody.stop()


@pytest.fixture(params=["openai", "anthropic"])
def parts(request: pytest.FixtureRequest, settings: Settings, server: Moody, tmp_path: Path) -> Iterator[Runtime]:
    """A chat worker's parts."""
    path = tmp_path / "moody.toml"
    path.write_text(f"""
default = "moody"
[models.moody]
label = "Moody"
provider = "{request.param}"
base_url = "{server.base_url(request.param)}"
model = "moody"
context_tokens = 20000
thinking_budget = 2000
first_token_timeout = 1.0
[models.keyless]
label = "Without its key"
provider = "{request.param}"
base_url = "{server.base_url(request.param)}"
model = "moody"
api_key_env = "NO_SUCH_KEY"
""")
    made = Runtime(settings.model_copy(update={"models_path": path}))
    yield made
    made.close()


def _rest(parts: Runtime, kind: ErrorKind = ErrorKind.UNREACHABLE, model: str = "moody") -> Cooldown:
    parts.cooldowns.note_failure(model, ProviderError(kind), uuid7())
    _wait_for_probe(parts, model)
    return parts.cooldowns.active([model])[model]


def _wait_for_probe(parts: Runtime, model: str = "moody") -> None:
    """Let the time before the next probe be over."""
    parts.redis.delete(f"sb:resting:{model}")


def _rests(parts: Runtime) -> bool:
    return "moody" in parts.cooldowns.in_cooldown(parts.models.names)


def test_a_server_that_answers_ends_the_rest_for_one_token(parts: Runtime, server: Moody) -> None:
    assert parts.prober.probe("moody", _rest(parts))
    assert not _rests(parts)
    (asked,) = server.requests
    assert asked["max_tokens"] == 1
    assert [turn["role"] for turn in asked["messages"]] == ["user"]
    assert len(str(asked)) < 500


@pytest.mark.parametrize("mood", ["no-words", "rejected", "stalled"])
def test_whoever_looks_at_the_greeting_is_there(parts: Runtime, server: Moody, mood: str) -> None:
    server.mood = mood
    assert parts.prober.probe("moody", _rest(parts))
    assert not _rests(parts)


@pytest.mark.parametrize(
    ("mood", "kind"),
    [
        ("broken", "server-error"),
        ("unauthorized", "unauthorized"),
        ("rate-limited", "rate-limited"),
        ("silent", "timeout"),
        ("no-head", "timeout"),
        ("stopped-short", "broken-stream"),
    ],
)
def test_a_server_that_does_not_answer_rests_on(parts: Runtime, server: Moody, mood: str, kind: str) -> None:
    server.mood = mood
    assert not parts.prober.probe("moody", _rest(parts))
    assert _rests(parts)
    cooldown = parts.cooldowns.active(["moody"])["moody"]
    assert (cooldown.kind, cooldown.probes) == (kind, 1)
    assert parts.cooldowns.due_for_probe(["moody"]) == {}
    server.mood = "good"
    _wait_for_probe(parts)
    assert parts.prober.probe("moody", cooldown)
    assert not _rests(parts)


def test_nothing_is_asked_while_all_is_well_or_before_its_time(parts: Runtime, server: Moody) -> None:
    parts.prober.tick()
    parts.cooldowns.note_failure("moody", ProviderError(ErrorKind.RATE_LIMITED, retry_after=60), uuid7())
    parts.prober.tick()
    parts.event_loop.run(_all_has_ended())
    assert server.asked() == 0
    assert _rests(parts)


async def _all_has_ended() -> None:
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))


def test_one_process_of_all_asks_at_a_time_and_holds_on(parts: Runtime, server: Moody) -> None:
    path = parts.settings.models_path
    path.write_text(path.read_text().replace("timeout = 1.0", "timeout = 20.0"))
    others = [Runtime(parts.settings) for _ in range(3)]
    server.mood = "held"
    _rest(parts)
    for _ in range(3):
        for each in (parts, *others):
            each.prober.tick()
    wait_for(server.asked)
    parts.redis.expire("sb:probe:moody", 1)
    parts.prober.tick()
    assert parts.redis.ttl("sb:probe:moody") > 5
    server.go_on.set()
    wait_for(lambda: not _rests(parts), what="its answer has ended the cooldown")
    assert server.asked() == 1
    for each in others:
        each.close()


def test_the_probe_of_a_worker_that_has_died_is_made_by_another(parts: Runtime, server: Moody) -> None:
    _rest(parts)
    assert parts.cooldowns.begin_probe("moody")  # by one that is not heard of again
    parts.prober.tick()
    assert server.asked() == 0
    parts.redis.pexpire("sb:probe:moody", 50)

    def probed() -> bool:
        parts.prober.tick()
        return not _rests(parts)

    wait_for(probed, what="another worker has probed it")
    assert server.asked() == 1


def test_a_key_that_is_missing_is_looked_for_and_nobody_is_asked(
    parts: Runtime, server: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    cooldown = _rest(parts, ErrorKind.MISSING_KEY, "keyless")
    assert not parts.prober.probe("keyless", cooldown)
    assert server.asked() == 0
    monkeypatch.setenv("NO_SUCH_KEY", "sesame")
    assert parts.prober.probe("keyless", cooldown)
    assert parts.cooldowns.in_cooldown(["keyless"]) == set()


def test_a_tick_without_redis_asks_nobody(parts: Runtime, server: Moody) -> None:
    away = Runtime(parts.settings.model_copy(update={"configured_redis_url": "redis://127.0.0.1:1"}), redis_retries=0)
    with pytest.raises(RedisUnavailable):
        away.prober.tick()
    assert server.asked() == 0
    away.close()


def test_redis_that_goes_away_during_a_probe_leaves_the_model_to_the_next_one(parts: Runtime, server: Moody) -> None:
    cooldown = _rest(parts)
    assert parts.cooldowns.begin_probe("moody")
    parts.redis.flushall()  # all is lost, the lock too
    server.mood = "broken"
    assert not parts.prober.probe("moody", cooldown)
    assert not _rests(parts)


class Stream:
    """An answer as the provider layer gives it, or an error of its own making."""

    def __init__(self, *chunks: Chunk, error: Exception | None = None) -> None:
        self._chunks, self._error = chunks, error

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        for chunk in self._chunks:
            yield chunk
        if self._error:
            raise self._error

    async def aclose(self) -> None:
        """Nothing to close."""


class TestFirstSign:
    @pytest.mark.parametrize("chunk", [Chunk("Hi"), Chunk(thinking="Hm"), Chunk(finish_reason="length")])
    def test_what_a_model_says_or_thinks_is_one(self, chunk: Chunk) -> None:
        LOOP.run(first_sign(Stream(Chunk(), chunk, error=ProviderError(ErrorKind.SERVER_ERROR)), 5))

    def test_pings_are_none(self) -> None:
        with pytest.raises(ProviderError, match="overloaded"):
            LOOP.run(
                first_sign(Stream(Chunk(), Chunk(), error=ProviderError(ErrorKind.SERVER_ERROR, "overloaded")), 5)
            )
        with pytest.raises(ProviderError, match="broken-stream"):
            LOOP.run(first_sign(Stream(Chunk()), 5))

    def test_a_fault_of_the_parsing_is_the_servers(self) -> None:
        with pytest.raises(ProviderError, match="broken-stream KeyError"):
            LOOP.run(first_sign(Stream(error=KeyError("choices")), 5))

    def test_a_refusal_because_one_token_is_too_few_is_one(self) -> None:
        said = "Could not finish the message because max_tokens or model output limit was reached."
        LOOP.run(first_sign(Stream(error=ProviderError(ErrorKind.REJECTED, provider_message=said)), 5))
        with pytest.raises(ProviderError):
            LOOP.run(first_sign(Stream(error=ProviderError(ErrorKind.UNAUTHORIZED, provider_message=said)), 5))


class TestShortAnswer:
    @pytest.mark.parametrize(
        "chunks",
        [
            [Chunk("Hi"), Chunk(finish_reason="length")],
            [Chunk("Hi"), Chunk(finish_reason="stop")],
            [Chunk("I can't"), Chunk(finish_reason="refusal")],
            [Chunk(thinking="Hm"), Chunk(finish_reason="length")],
            [Chunk(finish_reason="length")],
        ],
    )
    def test_a_word_is_one_and_what_had_no_room(self, chunks: list[Chunk]) -> None:
        LOOP.run(short_answer(Stream(*chunks), 5))

    @pytest.mark.parametrize(
        ("chunks", "kind"),
        [
            ([Chunk(finish_reason="stop")], "empty"),
            ([Chunk(thinking="Hm"), Chunk(finish_reason="stop")], "empty"),
            ([Chunk(finish_reason="tool_calls")], "empty"),
            ([Chunk(finish_reason="other")], "empty"),
            ([Chunk(finish_reason="content_filter")], "filtered"),
            ([Chunk("Hi"), Chunk(finish_reason="content_filter")], "filtered"),
            ([Chunk("Hi")], "broken-stream"),
            ([], "broken-stream"),
        ],
    )
    def test_what_never_answers_is_told(self, chunks: list[Chunk], kind: str) -> None:
        with pytest.raises(ProviderError) as raised:
            LOOP.run(short_answer(Stream(*chunks), 5))
        assert raised.value.kind == kind

    def test_an_answer_that_breaks_off_is_told(self) -> None:
        with pytest.raises(ProviderError, match="broken-stream"):
            LOOP.run(short_answer(Stream(Chunk("Hi"), error=ProviderError(ErrorKind.BROKEN_STREAM)), 5))

    def test_a_server_that_does_not_keep_to_the_limit_is_not_heard_out(self) -> None:
        LOOP.run(short_answer(Stream(*[Chunk("Hi")] * 100, error=AssertionError()), 5))


def test_a_slow_server_is_given_more_time_but_never_more_than_its_own() -> None:
    waits = [probe_timeout(Cooldown(ErrorKind.TIMEOUT, "", probes), 300) for probes in range(6)]
    assert waits == [15, 30, 60, 120, 120, 120]
    assert probe_timeout(Cooldown(ErrorKind.TIMEOUT, "", 1_000_000), 300) == MAX_PROBE_TIMEOUT
    assert probe_timeout(Cooldown(ErrorKind.TIMEOUT), 1.0) == 1.0
