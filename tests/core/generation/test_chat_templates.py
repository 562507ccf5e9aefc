"""Whatever has gone wrong in a session, models with strict templates take its next question."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from core.stores import tables
from tests.conftest import new_user
from tests.support.chat_templates import TEMPLATES, Refused, render
from tests.support.honest import said
from tests.support.provider import Handler, Manner, ProviderServer
from tests.support.waiting import wait_for


def _strict(template: str, then: Callable[[Handler, bool], None], *, prefill: bool = False) -> Manner:
    """A server that does something, but only with turns that the template takes."""

    def manner(handler: Handler) -> None:
        turns = said(handler.owner.requests[-1])
        try:
            render(template, turns, prefill=prefill)
        except Refused as refused:
            handler.refuse(400, str(refused))
            return
        then(handler, turns[-1]["role"] == "assistant" or "broke off" in turns[-1]["content"])

    return manner


def _answer(handler: Handler, _: bool) -> None:
    handler.begin()
    handler.chunk("Fine.")
    handler.conclude()


def _say_blanks(handler: Handler, _: bool) -> None:
    handler.begin()
    handler.chunk(" \n")
    handler.conclude()


def _end_at_once(handler: Handler, _: bool) -> None:
    handler.begin()
    handler.conclude()


def _break_off_once(handler: Handler, going_on: bool) -> None:
    handler.begin()
    handler.chunk(" and the rest." if going_on else "Half ")
    if going_on:
        handler.conclude()


def _break_off(handler: Handler, _: bool) -> None:
    handler.begin()
    handler.chunk("Half ")


def _wait(handler: Handler, _: bool) -> None:
    handler.begin()
    handler.owner.go_on.wait(5)


TROUBLES: dict[str, Callable[[Handler, bool], None]] = {
    "answers": _answer,
    "server-error": lambda handler, _: handler.refuse(500, "internal"),
    "overloaded": lambda handler, _: handler.refuse(429, "slow down"),
    "filtered": lambda handler, _: handler.refuse(400, "content_filter"),
    "ends-at-once": _end_at_once,
    "says-blanks": _say_blanks,
    "breaks-off-once": _break_off_once,
    "breaks-off": _break_off,
    "is-stopped": _wait,
}

MANNERS = {
    f"{template}-{trouble}{prefilled}": _strict(template, then, prefill=bool(prefilled))
    for template in TEMPLATES
    for trouble, then in TROUBLES.items()
    for prefilled in ("", "-prefilled")
}


@pytest.fixture(scope="module")
def servers() -> Iterator[ProviderServer]:
    """Strict model servers."""
    server = ProviderServer(MANNERS)
    yield server
    server.stop()


@pytest.fixture
def runtime(settings: Settings, servers: ProviderServer, tmp_path: Path) -> Iterator[Runtime]:
    """A process with those models."""
    tables = [
        f'[models.{protocol}-{name}]\nlabel = "{name}"\nprovider = "{protocol}"\nmodel = "{name}"\n'
        f'base_url = "{servers.base_url(protocol)}"\nfirst_token_timeout = 2.0\n'
        f"prefill = {json.dumps(name.endswith('-prefilled'))}\n"
        + ('omit = ["system"]\n' if name.startswith("gemma") else "")
        for protocol in ("openai", "anthropic")
        for name in MANNERS
        if (protocol, name.partition("-")[0]) != ("anthropic", "gemma")  # its system prompt has a place of its own
    ]
    path = tmp_path / "strict.toml"
    path.write_text("\n".join(['default = "openai-mistral-answers"', 'system_prompt = "Be kind."', *tables]))
    parts = Runtime(settings.model_copy(update={"models_path": path, "limit_messages_anonymous": None}))
    yield parts
    parts.close()


def _ask(runtime: Runtime, session: tables.Session, model: str, text: str, *, stop: bool = False) -> str:
    """A question to one of the models; how it ends."""
    with runtime.database.writing() as db:
        session = runtime.sessions.switch_model(session.id, model, db, session.owner_id)
    runtime.generations.accept(session, text)
    if stop:
        writer = threading.Thread(target=runtime.writer.run)
        writer.start()
        wait_for(lambda: runtime.log.read(session.id, 0).events[-1].type == "started")
        runtime.generations.stop(session)
        writer.join()
    else:
        runtime.writer.run()
    return str(runtime.log.read(session.id, 0).events[-1].type)


def _session(runtime: Runtime, model: str, owner: UUID | None) -> tables.Session:
    credential = Credential.issue()
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(
            db,
            owner,
            session_id=credential.session_id,
            secret_hash=None if owner else credential.secret_hash,
            model=model,
        )


@pytest.mark.parametrize(("prefilled", "owned"), [("", True), ("-prefilled", False)])
@pytest.mark.parametrize("server", ["openai-mistral", "openai-gemma", "anthropic-mistral"])
def test_after_each_kind_of_trouble_the_next_question_is_answered(
    runtime: Runtime, servers: ProviderServer, server: str, prefilled: str, owned: bool
) -> None:
    owner = new_user(runtime.database) if owned else None
    session = _session(runtime, f"{server}-answers", owner)
    for trouble in TROUBLES:
        servers.go_on.clear()
        _ask(runtime, session, f"{server}-{trouble}{prefilled}", f"Then {trouble}?", stop=trouble == "is-stopped")
        servers.go_on.set()
        assert _ask(runtime, session, f"{server}-answers{prefilled}", "And now?") == "done", trouble
        assert runtime.transcript.read(session).messages[-1].text == "Fine."
    turns = said(servers.requests[-1])
    assert turns[0]["content"].startswith("Be kind.")
    assert any("Half" in turn["content"] for turn in turns if turn["role"] == "assistant")
    assert not any("broke off" in turn["content"] for turn in turns)


@pytest.mark.parametrize("server", ["openai-mistral", "openai-gemma", "anthropic-mistral"])
def test_troubles_in_a_row_are_survived(runtime: Runtime, servers: ProviderServer, server: str) -> None:
    session = _session(runtime, f"{server}-answers", None)
    for trouble in ("server-error", "ends-at-once", "says-blanks", "overloaded", "breaks-off"):
        _ask(runtime, session, f"{server}-{trouble}", f"Then {trouble}?")
    assert _ask(runtime, session, f"{server}-answers", "And now?") == "done"
    turns = [turn["content"] for turn in said(servers.requests[-1])]
    assert "\n\n".join(turns).startswith("Be kind.\n\nThen server-error?\n\nThen ends-at-once?\n\nThen says-blanks?")
    assert turns[-1] == "And now?"
