"""Conversations that are longer than what a model takes go on."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from core.errors import ContextLengthExceeded
from core.generation.answer_requests import AnswerRequest
from core.generation.token_size import DEFAULT_BYTES_PER_TOKEN, MAX_STEP, TokenSizes
from core.llm.providers.base import Turn
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from core.stores import tables
from tests.conftest import new_user
from tests.support.honest import REFUSALS, bytes_of, honest, said, words_of
from tests.support.provider import BASE_PATHS, ProviderServer

PASTE = "0123456789" * 150
CONTEXT = 600

MANNERS = {
    **{words: honest(CONTEXT, words) for words in REFUSALS},
    "small": honest(CONTEXT),
    "smaller": honest(CONTEXT // 2, "llama"),
    "large": honest(100_000),
    "words": honest(CONTEXT, tokens=words_of),
    "prose": honest(CONTEXT, "llama", tokens=lambda text: bytes_of(text) // 4),
    "cut": honest(CONTEXT, "vllm", cut=True),
    "cut-prefilled": honest(CONTEXT, "llama", cut=True),
}


@pytest.fixture(scope="module")
def servers() -> Iterator[ProviderServer]:
    """Model servers that count."""
    server = ProviderServer(MANNERS)
    yield server
    server.stop()


def _table(name: str, servers: ProviderServer, protocol: str = "openai", model: str = "", **more: Any) -> str:
    keys = {
        "label": name.capitalize(),
        "provider": protocol,
        "base_url": servers.base_url(protocol),
        "model": model or name,
        "context_tokens": CONTEXT,
        "max_tokens": 100,
        "first_token_timeout": 2.0,
        **more,
    }
    return "\n".join([f"[models.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())])


@pytest.fixture
def runtime(settings: Settings, servers: ProviderServer, tmp_path: Path) -> Iterator[Runtime]:
    """A process with those models."""
    tables = [_table(name, servers) for name in (*REFUSALS, "small", "smaller", "words", "cut")]
    tables += [
        _table("spoken-by-anthropic", servers, "anthropic", "anthropic"),
        _table("large", servers, context_tokens=100_000),
        *(_table(f"promising-{words}", servers, model=words, context_tokens=32_000) for words in REFUSALS),
        _table("falls-back", servers, model="small", fallback=["smaller", "large"]),
        _table("falls-back-in-vain", servers, model="small", fallback=["smaller", "nowhere"]),
        _table("nowhere", servers, base_url="http://127.0.0.1:1" + BASE_PATHS["openai"]),
        _table("promising-prose", servers, model="prose", context_tokens=32_000),
        _table("cut-prefilled", servers, prefill=True),
        _table("promising-much-and-smaller", servers, model="small", context_tokens=9000, fallback=["smaller"]),
        _table("cut-and-smaller", servers, model="cut", context_tokens=2000, fallback=["smaller"]),
    ]
    path = tmp_path / "counting.toml"
    path.write_text("\n".join(['default = "small"', 'system_prompt = "Be kind."', *tables]))
    parts = Runtime(_without_limits(settings, path))
    yield parts
    parts.close()


def _without_limits(settings: Settings, models_path: Path) -> Settings:
    limits = [f"limit_{what}_{whose}" for what in ("messages", "tokens") for whose in ("anonymous", "user")]
    return settings.model_copy(update={"models_path": models_path, **dict.fromkeys(limits)})


class Chat:
    """One session, and what its model is asked with."""

    def __init__(self, runtime: Runtime, servers: ProviderServer, model: str, owner: UUID | None = None) -> None:
        self._runtime = runtime
        self._servers = servers
        credential = Credential.issue()
        with runtime.database.writing() as db:
            self.session: tables.Session = runtime.sessions.create_session(
                db,
                owner,
                session_id=credential.session_id,
                secret_hash=None if owner else credential.secret_hash,
                model=model,
            )
        self.requests: list[dict[str, Any]] = []
        """The last question's."""

    def ask(self, text: str) -> tuple[str, dict[str, Any]]:
        """The terminal event after a question."""
        before = len(self._servers.requests)
        self._runtime.generations.accept(self.session, text)
        self._runtime.writer.run()
        self.requests = self._servers.requests[before:]
        for request in self.requests:
            assert said(request)[-1]["content"].endswith(text) or len(said(request)) > 2
        event = self.events()[-1]
        assert event[0] in ("done", "failed"), "it has an end"
        return event

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """All of the session's newest."""
        return [(event.type, json.loads(event.data)) for event in self._runtime.log.read(self.session.id, 0).events]

    def answer(self) -> str:
        """The last message."""
        return self._runtime.transcript.read(self.session).messages[-1].text


@pytest.mark.parametrize("model", [*REFUSALS, *(f"promising-{words}" for words in REFUSALS), "spoken-by-anthropic"])
@pytest.mark.parametrize("owned", [False, True])
def test_three_pastes_of_digits_leave_the_session_alive(
    runtime: Runtime, servers: ProviderServer, model: str, owned: bool
) -> None:
    chat = Chat(runtime, servers, model, new_user(runtime.database) if owned else None)
    assert chat.ask("Hi")[0] == "done"
    for _ in range(3):
        kind, data = chat.ask(PASTE)
        problem = data["problem"]
        assert (kind, problem["type"], problem["reason"]) == ("failed", "/problems/provider-failed", "too-long")
        label = model.capitalize()
        figures = f"Your message has about {problem['tokens']:,} tokens; {label} takes at most {problem['limit']:,}."
        if model == "promising-without-figures":  # how much it takes is unknown
            figures = f"Your message and the room for an answer are more than {label} takes."
        else:
            assert problem["tokens"] > problem["limit"] > 0
        assert problem["detail"] == figures
        if "without" not in model:
            assert problem["tokens"] >= len(PASTE)
        assert len(chat.requests) <= 3
    assert chat.ask("Hello?")[0] == "done"
    assert len(chat.requests) <= 3
    assert said(chat.requests[-1])[-1]["content"].endswith("Hello?")
    assert not runtime.cooldowns.in_cooldown([model]), "a long message hides a model from nobody"


@pytest.mark.parametrize("words", REFUSALS)
def test_a_conversation_that_grows_beyond_any_promise_goes_on(
    runtime: Runtime, servers: ProviderServer, words: str
) -> None:
    """The table promises fifty times the context that there is."""
    chat = Chat(runtime, servers, f"promising-{words}")
    for number in range(12):
        assert chat.ask(f"{number} " + "9" * 130)[0] == "done"
        sizes = [sum(bytes_of(turn["content"]) for turn in said(request)) for request in chat.requests]
        assert len(sizes) <= 3
        assert sizes == sorted(sizes, reverse=True)
        for before, after in pairwise(sizes):
            assert after <= max(before / 2, 180), "half of it, and the question"
    if words != "without-figures":
        assert len(said(chat.requests[-1])) >= 4, "the newest turns are there, so far as they fit"


def test_a_limit_that_was_named_is_not_run_into_again(runtime: Runtime, servers: ProviderServer) -> None:
    """The table promises fifty times the context that there is, but knows what a token is."""
    chats = [Chat(runtime, servers, "promising-prose") for _ in range(2)]
    refused = 0
    for number in range(12):
        for chat in chats:
            assert chat.ask(f"{number} " + "word " * 80)[0] == "done"
            refused += len(chat.requests) - 1
    assert refused == 1, "of all sessions"
    assert len(said(chats[0].requests[-1])) >= 6, "and what there is of a context is used"


TEXTS = {
    "emoji": "🎉🧑‍🚀" * 14,
    "chinese": "你好世界。" * 15,
    "base64": "q83vEjRWeJCrze8SNFZ4kA" * 11,
    "code": "if (a[i] != b[j]) { return f(x, y) << 3; }\n" * 6,
    "whitespace": "a \n\t" * 60,
    "combining": "e\u0301\u0302" * 50,
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("model", ["vllm", "promising-without-figures"])
def test_a_conversation_in_any_writing_goes_on(
    runtime: Runtime, servers: ProviderServer, model: str, kind: str
) -> None:
    chat = Chat(runtime, servers, model)
    for number in range(6):
        assert chat.ask(f"{number} {TEXTS[kind]}.")[0] == "done"
        assert len(chat.requests) <= 3


def test_a_message_that_is_too_long_for_one_model_is_answered_by_the_next(
    runtime: Runtime, servers: ProviderServer
) -> None:
    chat = Chat(runtime, servers, "falls-back")
    kind, data = chat.ask(PASTE)
    assert (kind, data["model"]) == ("done", "large")
    assert [(data["from"], data["to"], data["reason"]) for kind, data in chat.events() if kind == "fallback"] == [
        ("falls-back", "smaller", "too-long"),
        ("smaller", "large", "too-long"),
    ]
    assert len(chat.requests) == 3, "no less of it could be sent"
    assert chat.ask("Hello?")[1]["model"] == "falls-back"


def test_of_all_that_fails_in_a_chain_the_length_is_told(runtime: Runtime, servers: ProviderServer) -> None:
    """The rest only the operator could repair."""
    chat = Chat(runtime, servers, "falls-back-in-vain")
    kind, data = chat.ask(PASTE)
    problem = data["problem"]
    assert (kind, problem["reason"], problem["model"]) == ("failed", "too-long", "smaller")
    assert (problem["tokens"], problem["limit"]) == (len(PASTE) + len("Be kind.") + 2, CONTEXT // 2)
    assert chat.ask("Hello?")[0] == "done"


@pytest.mark.parametrize("model", ["cut", "cut-prefilled", "cut-and-smaller"])
def test_the_part_of_an_answer_that_is_gone_on_with_counts(
    runtime: Runtime, servers: ProviderServer, model: str
) -> None:
    chat = Chat(runtime, servers, model)
    chat.ask("9" * 100)
    kind, data = chat.ask("8" * 190)
    assert kind == "done", data
    assert chat.answer().startswith("Half of an answer. Half")
    assert chat.answer().endswith("turns.")
    going_on = said(chat.requests[-1])
    assert chat.requests[-1]["messages"][-2 if model == "cut-prefilled" else -3]["content"].endswith("8" * 190)
    half = going_on[-1 if model == "cut-prefilled" else -2]
    assert half["role"] == "assistant"
    # Whitespace at the end of a turn to continue is left out: some servers refuse it.
    written = ("Half of an answer. " * 12).rstrip() if model == "cut-prefilled" else "Half of an answer. " * 12
    assert written.endswith(half["content"])
    assert chat.ask("Hello?")[0] == "done"


def test_a_system_prompt_that_is_too_long_says_so(
    runtime: Runtime, servers: ProviderServer, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "wordy.toml"
    path.write_text(f'default = "small"\nsystem_prompt = "{"Rule. " * 500}"\n{_table("small", servers)}')
    wordy = Runtime(_without_limits(settings, path))
    kind, data = Chat(wordy, servers, "small").ask("Hello?")
    assert kind == "failed"
    assert data["problem"]["detail"].startswith("This service's own instructions have about ")
    assert data["problem"]["tokens"] == pytest.approx(3000, rel=0.02)
    assert data["problem"]["limit"] == CONTEXT
    wordy.close()


def test_what_a_token_is_is_learned_from_answers_and_from_refusals(
    runtime: Runtime, servers: ProviderServer, settings: Settings
) -> None:
    sizes = TokenSizes(runtime.redis)
    dense, wordy = Chat(runtime, servers, "small"), Chat(runtime, servers, "words")
    dense.ask(PASTE)
    assert DEFAULT_BYTES_PER_TOKEN / MAX_STEP - 0.001 <= sizes.for_model("small") < DEFAULT_BYTES_PER_TOKEN, (
        "one text changes little"
    )
    for _ in range(40):
        dense.ask("9" * 200)
    for _ in range(30):
        wordy.ask("supercalifragilistic " * 12)
    assert sizes.for_model("small") < 1.5
    assert sizes.for_model("words") > 7
    assert len(dense.requests) == 1, "nothing is refused any more"
    assert len(said(wordy.requests[-1])) > 14, "and no context goes unused"
    other = Runtime(_without_limits(settings, runtime.settings.models_path))
    again = Chat(other, servers, "small")
    for _ in range(5):
        again.ask("9" * 200)
        assert len(again.requests) == 1, "nor in another process"
    other.close()


def test_what_was_asked_in_the_end_is_what_it_counts_for(runtime: Runtime, servers: ProviderServer) -> None:
    chat = Chat(runtime, servers, "promising-vllm")
    for _ in range(5):
        chat.ask("9" * 200)
    done = chat.events()[-1][1]
    assert done["usage"]["prompt_tokens"] < CONTEXT


def test_a_request_that_is_too_long_for_a_model_is_not_sent_to_it(runtime: Runtime, servers: ProviderServer) -> None:
    user, request = new_user(runtime.database), AnswerRequest((Turn("user", "Why is that so? " * 200),))
    before = len(servers.requests)
    with pytest.raises(ContextLengthExceeded, match=f"maximum context length is {CONTEXT} tokens"):
        runtime.generations.answer_request(user, "small", request)
    with runtime.database.reading() as db:
        assert db.scalars(select(tables.Session.id).where(tables.Session.owner_id == user)).all() == []

    taken = runtime.generations.answer_request(user, "promising-much-and-smaller", request)
    runtime.writer.run()
    events = [(each.type, json.loads(each.data)) for each in runtime.log.read(taken.session.id, 0).events]
    kind, failed = events[-1]
    assert (kind, failed["problem"]["reason"], failed["problem"]["limit"]) == ("failed", "too-long", CONTEXT)
    assert [asked["model"] for asked in servers.requests[before:]] == ["small"]
