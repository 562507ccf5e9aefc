"""What a model says to itself is streamed, kept with its answer, and gone with it."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from core.conversation.keys import keys
from core.generation import thinking
from core.llm.providers import openai_compatible  # noqa: F401  half a second that no first token should wait for
from core.runtime import Runtime
from core.stores import tables
from tests.conftest import new_user
from tests.core.generation.asking import Asked, ask, wait_for_thoughts
from tests.support.provider import ANSWER, HALF, THOUGHT, Handler, ProviderServer
from tests.support.waiting import wait_for


@pytest.fixture
def runtime(settings: Any, any_database_url: str) -> Iterator[Runtime]:
    """A process, once on SQLite and once on PostgreSQL."""
    parts = Runtime(settings.model_copy(update={"configured_database_url": any_database_url}))
    yield parts
    parts.close()


owned_or_not = pytest.mark.parametrize("owned", [False, True], ids=["guest", "owned"])


def _goes_on(asked: Asked, model: str | None = None) -> None:
    """The session answers the next message, and nothing is left of what should be gone."""
    after = asked.again(model=model)
    after.runtime.writer.run()
    assert after.message().state == "complete"
    assert [finding for finding in asked.runtime.invariants.check() if finding.ids] == []


@owned_or_not
def test_it_is_streamed_before_the_answer_and_kept_with_it(runtime: Runtime, owned: bool) -> None:
    asked = ask(runtime, "thinks", owned=owned)
    runtime.writer.run()
    kinds = [kind for kind, _ in asked.events()]
    assert kinds[:3] == ["queued", "started", "thinking"]
    assert kinds.index("delta") > max(at for at, kind in enumerate(kinds) if kind == "thinking")
    message = asked.message()
    assert (message.text, message.thinking, message.state) == (ANSWER, THOUGHT, "complete")
    assert (message.finish_reason, message.thinking_seconds, message.problem) == ("stop", 1, None)
    assert THOUGHT not in (message.html or "")
    told = [message.describe() for message in runtime.transcript.oldest_first(asked.session)]
    assert told[-1]["thinking"] == THOUGHT, "in an export, too"
    assert runtime.redis.exists(keys(asked.session.id).thinking, keys(asked.session.id).partial) == 0
    _goes_on(asked)


def test_it_is_not_sent_back_to_the_model(runtime: Runtime, provider: ProviderServer) -> None:
    asked = ask(runtime, "thinks")
    runtime.writer.run()
    _goes_on(asked)
    assert THOUGHT not in json.dumps(provider.requests[-1]["messages"], ensure_ascii=False)


def test_between_paragraphs_it_is_added(runtime: Runtime) -> None:
    asked = ask(runtime, "thinks-between")
    runtime.writer.run()
    message = asked.message()
    assert (message.text, message.thinking) == (ANSWER, "So. So. ")


def test_a_model_that_gives_signs_of_life_is_waited_for(runtime: Runtime) -> None:
    asked = ask(runtime, "breathes")
    began = time.monotonic()
    runtime.writer.run()
    assert time.monotonic() - began > 3, "longer than each of the table's limits"
    message = asked.message()
    assert (message.text, message.thinking, message.state) == (ANSWER, "Hmm.Well.", "complete")
    assert message.thinking_seconds == 2
    assert runtime.cooldowns.in_cooldown(["breathes"]) == set()


def test_a_model_that_thinks_and_then_is_silent_is_given_up(runtime: Runtime) -> None:
    asked = ask(runtime, "thinks-then-is-silent")
    runtime.writer.run()
    message = asked.message()
    assert (message.state, message.text, message.thinking) == ("failed", "", THOUGHT)
    assert (message.problem or {})["reason"] == "timeout"
    _goes_on(asked, "good")


@owned_or_not
def test_a_reader_in_mid_thinking_sees_it_so_far(runtime: Runtime, provider: ProviderServer, owned: bool) -> None:
    provider.go_on.clear()
    asked = ask(runtime, "thinks-slowly", owned=owned)
    writer = asked.write()
    wait_for_thoughts(asked)
    for _ in range(20):
        message = asked.message()  # compares it with the events up to its cursor
        assert message.state == "streaming"
        assert message.finish_reason is None
    provider.go_on.set()
    writer.join()
    assert asked.message().text == ANSWER


@owned_or_not
def test_a_stop_in_mid_thinking_is_heard_at_once_and_keeps_it(
    runtime: Runtime, provider: ProviderServer, owned: bool
) -> None:
    provider.go_on.clear()
    provider.disconnected.clear()
    asked = ask(runtime, "thinks-slowly", owned=owned)
    writer = asked.write()
    wait_for_thoughts(asked)
    began = time.monotonic()
    runtime.generations.stop(asked.session)
    writer.join(5)
    assert time.monotonic() - began < 1
    assert provider.disconnected.wait(5)
    message = asked.message()
    assert (message.state, message.text, message.finish_reason) == ("stopped", "", "stopped")
    assert (message.thinking or "").startswith("Hmm.")
    assert asked.told().end == "stopped"
    provider.go_on.set()
    _goes_on(asked)


def test_it_has_a_bound_and_what_is_beyond_is_only_a_sign_of_life(
    settings: Any, any_database_url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mumbles(handler: Handler) -> None:
        handler.begin()
        for _ in range(12):
            handler.think("🤔" * (thinking.MAX_THINKING_LENGTH // 10))
        handler.chunk(ANSWER)
        handler.conclude()

    server = ProviderServer({"thinks": mumbles})
    (tmp_path / "models.toml").write_text(server.models_toml())
    parts = Runtime(settings.model_copy(update={"configured_database_url": any_database_url}))
    asked = ask(parts, "thinks", owned=True)
    parts.writer.run()
    message = asked.message()
    assert (message.text, message.thinking) == (ANSWER, "🤔" * thinking.MAX_THINKING_LENGTH)
    assert len(message.encode()) <= message.size()
    parts.close()
    server.stop()


def test_nothing_of_it_stays_of_a_session_that_is_deleted_in_mid_thinking(
    runtime: Runtime, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    asked = ask(runtime, "thinks-slowly")
    writer = asked.write()
    wait_for_thoughts(asked)
    runtime.actions.end(asked.session)
    writer.join(5)
    assert not writer.is_alive()
    assert list(runtime.redis.scan_iter(f"*{asked.session.id}*")) == []
    provider.go_on.set()


def test_it_lives_no_longer_than_its_session(runtime: Runtime, provider: ProviderServer) -> None:
    provider.go_on.clear()
    asked = ask(runtime, "thinks-slowly")
    writer = asked.write()
    wait_for_thoughts(asked)
    at = keys(asked.session.id)
    assert 0 < runtime.redis.pexpiretime(at.thinking) == runtime.redis.pexpiretime(at.meta)
    provider.go_on.set()
    writer.join()


def test_a_claim_takes_it_along_and_leaves_none(runtime: Runtime) -> None:
    asked = ask(runtime, "thinks")
    runtime.writer.run()
    user = new_user(runtime.database)
    claimed = runtime.actions.claim(asked.session, user)
    assert runtime.transcript.read(claimed).messages[-1].thinking == THOUGHT
    assert runtime.redis.exists(keys(asked.session.id).words, keys(asked.session.id).thinking) == 0
    with runtime.database.reading() as db:
        row = db.scalars(select(tables.Message).where(tables.Message.role == "assistant")).one()
    assert (row.thinking, row.thinking_seconds, row.finish_reason) == (THOUGHT, 1, "stop")


@pytest.mark.parametrize("stopped", [False, True])
def test_no_word_of_a_guests_is_in_the_database(settings: Any, provider: ProviderServer, stopped: bool) -> None:
    runtime = Runtime(settings)
    provider.go_on.clear()
    asked = ask(runtime, "thinks-slowly" if stopped else "thinks")
    writer = asked.write()
    if stopped:
        wait_for_thoughts(asked)
        runtime.generations.stop(asked.session)
    writer.join()
    provider.go_on.set()
    runtime.close()
    with sqlite3.connect(runtime.settings.state_dir / "test.db") as db:
        everything = "\n".join(db.iterdump())
    assert str(asked.generation_id).replace("-", "") in everything
    assert "Hmm" not in everything


def test_an_end_that_is_told_late_has_it_too(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ask(runtime, "thinks")

    def away(*_: object, **__: object) -> None:
        raise threading.BrokenBarrierError

    with monkeypatch.context() as patch, pytest.raises(threading.BrokenBarrierError):
        patch.setattr(runtime.generation_events, "append_end", away)  # the worker dies between the row and the event
        runtime.writer.run()
    assert asked.row().state == "done"
    runtime.finalizer.publish(asked.generation_id)
    message = asked.message()
    assert (message.text, message.thinking, message.thinking_seconds) == (ANSWER, THOUGHT, 1)
    assert asked.told().end == "done"
    assert asked.row().settled_tokens == 18


def test_a_page_counts_its_bytes(runtime: Runtime) -> None:
    asked = ask(runtime, "thinks", owned=True)
    runtime.writer.run()
    short = asked.message().size()
    with runtime.database.writing() as db:
        db.get_one(tables.Message, asked.generation_id).thinking = "é" * 400_000
    page = runtime.transcript.read(asked.session)
    assert page.messages[-1].size() > short + 800_000
    assert page.before is not None, "the question has no room beside it"


def test_half_an_answer_after_it_is_still_half(runtime: Runtime) -> None:
    asked = ask(runtime, "thinks-then-stalls")
    writer = asked.write()
    wait_for(lambda: len(asked.written().text) == HALF)
    runtime.generations.stop(asked.session)
    writer.join()
    message = asked.message()
    assert (message.text, message.thinking, message.state) == (ANSWER[:HALF], THOUGHT, "stopped")
