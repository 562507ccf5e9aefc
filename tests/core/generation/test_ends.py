"""Ends told as they are: in the terminal event, with the message, for guests and users; and the session goes on."""

import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args

import pytest
from uuid_utils.compat import uuid7

from core.conversation.message import Message
from core.llm.providers import openai_compatible  # noqa: F401  half a second that no first token should wait for
from core.llm.providers.base import ChunkStream, ErrorKind, ProviderError
from core.runtime import Runtime
from tests.conftest import SOME_ID
from tests.core.generation.asking import Asked, ask
from tests.support.provider import ANSWER, THOUGHT, ProviderServer
from tests.support.waiting import wait_for
from web.schemas.responses import Message as MessageOnTheWire

owned_or_not = pytest.mark.parametrize("owned", [False, True], ids=["guest", "owned"])
FINISH_REASONS = get_args(get_args(MessageOnTheWire.model_fields["finish_reason"].annotation)[0])


@pytest.fixture
def runtime(settings: Any, any_database_url: str) -> Iterator[Runtime]:
    """A process, once on SQLite and once on PostgreSQL."""
    parts = Runtime(settings.model_copy(update={"configured_database_url": any_database_url}))
    yield parts
    parts.close()


def _end(asked: Asked) -> tuple[str, dict[str, Any]]:
    """The terminal event, after which the log says the same as the message and the session goes on."""
    kind, data = asked.events()[-1]
    message = asked.message()
    assert data["finish_reason"] == message.finish_reason
    assert data["finish_reason"] in FINISH_REASONS
    assert data.get("problem") == message.problem
    MessageOnTheWire.model_validate(message.describe())
    after = asked.again(model="good")
    asked.runtime.writer.run()
    assert (after.message().text, after.message().finish_reason) == (ANSWER, "stop")
    return kind, data


@owned_or_not
@pytest.mark.parametrize(
    ("model", "text", "reason"),
    [
        ("good", ANSWER, "stop"),
        ("cut-short", "Half an ", "length"),
        ("filtered-midway", "Half an ", "content_filter"),
        ("wants-a-tool-midway", "Let me look.", "tool_calls"),
        ("ends-oddly-midway", "Half an ", "other"),
    ],
)
def test_an_answer_says_why_it_ended(runtime: Runtime, owned: bool, model: str, text: str, reason: str) -> None:
    asked = ask(runtime, model, owned=owned)
    runtime.writer.run()
    message = asked.message()
    assert (message.text, message.state, message.finish_reason, message.problem) == (text, "complete", reason, None)
    assert _end(asked)[0] == "done"


@owned_or_not
@pytest.mark.parametrize(
    ("model", "reason", "kind", "words"),
    [
        ("empty", "error", "empty", "gave no answer"),
        ("blank", "error", "empty", "gave no answer"),
        ("only-thinks", "error", "empty", "gave no answer"),
        ("no-room", "length", "empty", "limit before"),
        ("thinks-too-long", "length", "empty", "limit before"),
        ("filtered", "content_filter", "filtered", "filter"),
        ("wants-a-tool", "tool_calls", "empty", "a tool"),
        ("ends-oddly", "other", "empty", "gave no answer"),
    ],
)
def test_no_answer_at_all_is_a_failure_and_says_which(
    runtime: Runtime, owned: bool, model: str, reason: str, kind: str, words: str
) -> None:
    asked = ask(runtime, model, owned=owned)
    runtime.writer.run()
    message = asked.message()
    assert (message.text, message.state, message.finish_reason, message.html) == ("", "failed", reason, None)
    assert message.thinking == (THOUGHT if "thinks" in model else None)
    problem = message.problem or {}
    assert (problem["type"], problem["reason"], problem["model"]) == ("/problems/provider-failed", kind, model)
    assert words in problem["detail"]
    assert not [data for name, data in asked.events() if name == "delta"], "not even the blanks"
    assert runtime.cooldowns.in_cooldown([model]) == set()
    assert _end(asked)[0] == "failed"


@pytest.mark.parametrize("model", ["away", "unauthorized", "rate-limited", "rejected", "broken", "stalled", "cut"])
@owned_or_not
def test_a_failure_is_kept_with_its_message(runtime: Runtime, owned: bool, model: str) -> None:
    asked = ask(runtime, model, owned=owned)
    runtime.writer.run()
    message = asked.message()
    assert (message.state, message.finish_reason) == ("failed", "error")
    assert (message.problem or {})["reason"] in set(ErrorKind)
    assert _end(asked)[0] == "failed"


@owned_or_not
def test_a_question_that_is_stopped_before_its_turn_is_kept_as_stopped(runtime: Runtime, owned: bool) -> None:
    asked = ask(runtime, "good", owned=owned)
    runtime.generations.stop(asked.session)
    message = asked.message()
    assert (message.state, message.finish_reason, message.problem) == ("stopped", "stopped", None)
    assert _end(asked)[0] == "stopped"


@pytest.mark.parametrize(("model", "reason"), [("blank", "empty"), ("filtered", "filtered")])
def test_the_next_model_is_asked_in_place_of_one_without_a_word(runtime: Runtime, model: str, reason: str) -> None:
    asked = ask(runtime, f"{model}-then-falls-back")
    runtime.writer.run()
    message = asked.message()
    assert (message.text, message.model, message.finish_reason) == (ANSWER, "good", "stop")
    fallback = next(data for kind, data in asked.events() if kind == "fallback")
    assert (fallback["reason"], fallback["thinking"]) == (reason, 0)
    deltas = [data for kind, data in asked.events() if kind == "delta"]
    assert deltas[0]["at"] == 0
    assert deltas[0]["text"].strip()


@owned_or_not
@pytest.mark.parametrize(
    ("model", "resting", "reason", "midway"),
    [
        ("falls-back", [], "server-error", False),
        ("falls-back-midway", [], "server-error", True),
        ("falls-back", ["falls-back", "unauthorized"], "resting", False),
        ("good", [], None, False),
    ],
    ids=["fails", "fails midway", "rests", "answers itself"],
)
def test_who_has_answered_for_another_model_is_kept_with_the_answer(
    runtime: Runtime, model: str, resting: list[str], reason: str | None, midway: bool, owned: bool
) -> None:
    for each in resting:
        runtime.cooldowns.note_failure(each, ProviderError(ErrorKind.UNREACHABLE), uuid7())
    asked = ask(runtime, model, owned=owned)
    runtime.writer.run()
    message = asked.message()
    kept, told = message.fallback, asked.events()[-1][1].get("fallback")
    assert kept == told
    if reason is None:
        assert kept is None
        return
    assert kept is not None
    assert (kept["from"], kept["to"], kept["reason"], kept["at"] > 0) == (model, message.model, reason, midway)


@owned_or_not
def test_a_stopped_answer_says_which_model_wrote_it_in_place_of_another(
    runtime: Runtime, provider: ProviderServer, owned: bool
) -> None:
    provider.go_on.clear()
    asked = ask(runtime, "falls-back-to-busy", owned=owned)
    writer = asked.write()
    wait_for(lambda: asked.written().text)
    runtime.generations.stop(asked.session)
    writer.join(10)
    provider.go_on.set()
    message = asked.message()
    assert (message.state, message.model) == ("stopped", "one-at-a-time")
    assert message.fallback == {"from": "falls-back-to-busy", "to": message.model, "reason": "server-error", "at": 0}


def test_an_answers_own_blanks_are_kept(runtime: Runtime, settings: Any, tmp_path: Any) -> None:
    def indented(handler: Any) -> None:
        handler.begin()
        for piece in ("\n", "\n", "    ", "code", "\n\n", "  more\n"):
            handler.chunk(piece)
        handler.conclude()

    server = ProviderServer({"good": indented})
    (tmp_path / "models.toml").write_text(server.models_toml())
    parts = Runtime(runtime.settings)
    asked = ask(parts, "good")
    parts.writer.run()
    assert asked.message().text == "\n\n    code\n\n  more\n"
    parts.close()
    server.stop()


def test_the_providers_own_words_are_in_the_log_and_nowhere_else(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        sent = answered = False

        def __aiter__(self) -> AsyncIterator[Any]:
            raise ProviderError(ErrorKind.REJECTED, "HTTP 400", provider_message="frobnicate must be an integer")

        async def aclose(self) -> None:
            """A stream without a connection."""

    def refuse(*_: object) -> ChunkStream:
        return Refusing()

    asked = ask(runtime, "good", owned=True)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(runtime.models, "open", refuse)
        runtime.writer.run()
    (line,) = [record for record in caplog.records if "frobnicate" in record.getMessage()]
    assert line.getMessage() == "good failed: rejected HTTP 400, it said: frobnicate must be an integer"
    assert line.generation_id == str(asked.generation_id)  # type: ignore[attr-defined]
    assert "frobnicate" not in json.dumps(asked.events()) + asked.message().dump()


def test_what_was_stored_before_is_still_read(runtime: Runtime) -> None:
    begin = f'{{"id":"{SOME_ID}","role":"assistant","text":"So.","model":"good","state":"complete"'
    old = Message.load(begin + ',"created_at":"2026-01-02T03:04:05.000006Z"}')
    assert (old.finish_reason, old.thinking, old.thinking_seconds, old.problem) == (None, None, None, None)
    asked = ask(runtime, "good", owned=True)
    runtime.writer.run()
    with runtime.database.writing() as db:
        row = asked.row()
        row.unpublished, row.reasoning_tokens = {"length": len(ANSWER), "model": "good"}, None
        db.merge(row)
    runtime.finalizer.publish(asked.generation_id)
    assert asked.row().unpublished is None
