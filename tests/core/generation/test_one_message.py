"""No session is dead, or forgets, because of one message: what fails for it is asked once more without it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.conversation.message import Message
from core.runtime import Runtime
from core.settings import Settings
from tests.core.generation.asking import Asked, ask
from tests.support.honest import said
from tests.support.provider import Handler, Manner, ProviderServer, in_turn


def _event(handler: Handler, error: dict[str, object]) -> None:
    handler.begin()
    handler.say(f"data: {json.dumps({'error': error})}\n\n")


FAILURES: dict[str, Callable[[Handler], None]] = {
    "server-error": lambda handler: handler.refuse(500, "out of memory"),
    "rejected": lambda handler: handler.refuse(400, "it does not please"),
    "filtered": lambda handler: handler.refuse(400, "content_filter"),
    "firewall": lambda handler: handler.refuse(403, "<html><title>Forbidden</title></html>"),
    "closed": lambda handler: None,
    "silent": in_turn(Handler.begin, lambda handler: handler.owner.go_on.wait(3)),
    "empty": in_turn(Handler.begin, Handler.conclude),
    "error-in-stream": lambda handler: _event(handler, {"message": "CUDA error", "code": 500}),
}


def _fails_for_bad(fail: Callable[[Handler], None]) -> Manner:
    def manner(handler: Handler) -> None:
        if any("bad" in turn["content"] for turn in said(handler.owner.requests[-1])):
            fail(handler)
            return
        handler.begin()
        handler.chunk("Fine.")
        handler.conclude()

    return manner


def _midway(then: Callable[[Handler], None]) -> Manner:
    """Has an error after some words, and would go on."""

    def manner(handler: Handler) -> None:
        turns = said(handler.owner.requests[-1])
        going_on = len(turns) > 1 and "Half an" in turns[-2]["content"]
        handler.begin()
        handler.chunk(" answer." if going_on else "Half an")
        if going_on:
            handler.conclude()
        else:
            then(handler)

    return manner


def _tells(handler: Handler, **error: object) -> None:
    handler.say(f"data: {json.dumps({'error': error})}\n\n")


MIDWAY: dict[str, tuple[Callable[[Handler], None], str, str, int]] = {
    "filtered": (lambda one: _tells(one, message="x", code="content_filter"), "complete", "content_filter", 1),
    "too-long": (lambda one: _tells(one, message="x", code="context_length_exceeded"), "complete", "length", 1),
    "rejected": (lambda one: _tells(one, message="x", code=400), "failed", "error", 1),
    "rate-limited": (lambda one: _tells(one, message="x", code=429), "failed", "error", 1),
    "unauthorized": (lambda one: _tells(one, message="x", code=401), "failed", "error", 1),
    "quota": (lambda one: _tells(one, message="x", code="insufficient_quota"), "failed", "error", 1),
    "server-error": (lambda one: _tells(one, message="x", code=500), "complete", "stop", 2),
    "broken": (lambda one: None, "complete", "stop", 2),
}


def _no_prefill(handler: Handler) -> None:
    """Breaks off once, and refuses to continue a turn."""
    turns = said(handler.owner.requests[-1])
    if turns[-1]["role"] == "assistant":
        handler.refuse(400, "This model does not support assistant message prefill.")
        return
    _midway(lambda _: None)(handler)


def _takes_all(handler: Handler) -> None:
    handler.begin()
    handler.chunk("All.")
    handler.conclude()


MANNERS: dict[str, Manner] = {
    **{name: _fails_for_bad(fail) for name, fail in FAILURES.items()},
    **{f"midway-{name}": _midway(then) for name, (then, *_) in MIDWAY.items()},
    "no-prefill": _no_prefill,
    "good": _fails_for_bad(lambda _: None),
    "takes-all": _takes_all,
}


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    made = ProviderServer(MANNERS)
    yield made
    made.stop()


@pytest.fixture
def runtime(settings: Settings, server: ProviderServer, tmp_path: Path) -> Iterator[Runtime]:
    path = tmp_path / "moody.toml"
    tables = [
        f'[models.{name}]\nlabel = "{name}"\nprovider = "openai"\nmodel = "{name}"\nbase_url = "{server.url}"\n'
        f"first_token_timeout = 0.5\nprefill = {json.dumps(name == 'no-prefill')}\n"
        + ('fallback = ["good"]\n' if name == "midway-filtered" else "")
        for name in MANNERS
    ]
    path.write_text('default = "good"\n' + "\n".join(tables))
    parts = Runtime(settings.model_copy(update={"models_path": path, "limit_messages_anonymous": None}))
    yield parts
    parts.close()


def _write(asked: Asked) -> Message:
    asked.runtime.writer.run()
    return asked.message()


def _last(server: ProviderServer) -> list[str]:
    return [turn["content"] for turn in said(server.requests[-1])]


@pytest.mark.parametrize("model", FAILURES)
def test_the_next_questions_are_answered_and_the_answered_ones_are_remembered(
    runtime: Runtime, server: ProviderServer, model: str
) -> None:
    first = ask(runtime, model)
    assert _write(first).text == "Fine."
    bad = first.again("bad")
    assert _write(bad).state == "failed"
    before = len(server.requests)
    following = bad.again("And now?")
    assert _write(following).text == "Fine."
    assert len(server.requests) - before <= 2
    assert _last(server) == ["Why?", "Fine.", "And now?"]
    assert runtime.cooldowns.in_cooldown([model]) - {"firewall"} == set()
    again = following.again("bad again")
    before = len(server.requests)
    assert _write(again).state == "failed"
    assert len(server.requests) - before <= 3
    after = again.again("And then?")
    assert _write(after).text == "Fine."
    assert _last(server) == ["Why?", "Fine.", "And now?", "Fine.", "And then?"]


def test_a_question_that_one_model_rejects_is_not_lost_to_another(runtime: Runtime, server: ProviderServer) -> None:
    asked = ask(runtime, "rejected")
    _write(asked)
    bad = asked.again("bad")
    assert (_write(bad).problem or {})["reason"] == "rejected"
    elsewhere = bad.again("So?", "takes-all")
    assert _write(elsewhere).text == "All."
    assert _last(server) == ["Why?", "Fine.", "bad\n\nSo?"]
    assert _write(elsewhere.again("And now?", "rejected")).text == "Fine."
    assert _last(server) == ["Why?", "Fine.", "So?", "All.", "And now?"]


@pytest.mark.parametrize("name", MIDWAY)
def test_an_error_in_the_middle_is_an_end_or_is_gone_on_after_or_neither(
    runtime: Runtime, server: ProviderServer, name: str
) -> None:
    _, state, reason, requests = MIDWAY[name]
    before = len(server.requests)
    message = _write(ask(runtime, f"midway-{name}"))
    assert len(server.requests) - before == requests
    assert (message.state, message.finish_reason) == (state, reason)
    assert message.text == ("Half an answer." if requests == 2 else "Half an")


def test_a_server_that_refuses_to_continue_a_turn_is_asked_to_go_on_in_words(
    runtime: Runtime, server: ProviderServer
) -> None:
    before = len(server.requests)
    message = _write(ask(runtime, "no-prefill"))
    assert (message.text, message.state, message.finish_reason) == ("Half an answer.", "complete", "stop")
    assert [said(request)[-1]["role"] for request in server.requests[before:]] == ["user", "assistant", "user"]
