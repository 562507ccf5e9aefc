"""A question over which a server breaks, before a word or after one, keeps no person from asking another."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.conversation.message import Message
from core.runtime import Runtime
from core.settings import Settings
from tests.core.generation.asking import Asked, ask
from tests.support.honest import said
from tests.support.provider import Handler, ProviderServer

POISON = "What is a glitch token?"


def _is_silent(handler: Handler) -> None:
    """Until its client hangs up."""
    handler.connection.recv(1)


def _closes(_: Handler) -> None:
    """The connection just ends."""


def _says_error(handler: Handler) -> None:
    handler.say('data: {"error": {"message": "internal", "code": 500}}\n\n')


def _says_it_is_refused(handler: Handler) -> None:
    handler.say('data: {"error": {"message": "it does not please", "code": 400}}\n\n')


ENDS = {"closes": _closes, "errs": _says_error, "refuses": _says_it_is_refused, "is-silent": _is_silent}
BEGINNINGS = {"at-once": "", "after-a-word": "Half ", "after-some": "Half an answer, "}


def _breaks(beginning: str, end: Callable[[Handler], None]) -> Callable[[Handler], None]:
    """Over the poison, wherever it is told."""

    def manner(handler: Handler) -> None:
        poisoned = any(POISON in turn["content"] for turn in said(handler.owner.requests[-1]))
        handler.begin()
        if not poisoned:
            handler.chunk("Fine.")
            handler.conclude()
            return
        if beginning:
            handler.chunk(beginning)
        end(handler)

    return manner


def _thinks_unless_alone(handler: Handler) -> None:
    """Thinks in vain over the poison, and answers the rest without a thought."""
    poisoned = any(POISON in turn["content"] for turn in said(handler.owner.requests[-1]))
    handler.begin()
    if poisoned:
        handler.think("Glitches ...")
        return
    handler.chunk("Fine.")
    handler.conclude()


MANNERS: dict[str, Any] = {
    **{f"{how}-{when}": _breaks(words, ENDS[how]) for how in ENDS for when, words in BEGINNINGS.items()},
    "thinks-unless-alone": _thinks_unless_alone,
}


@pytest.fixture(scope="module")
def servers() -> Iterator[ProviderServer]:
    """A server that breaks in each of these ways."""
    server = ProviderServer(MANNERS)
    yield server
    server.stop()


@pytest.fixture
def runtime(settings: Settings, servers: ProviderServer, tmp_path: Path) -> Iterator[Runtime]:
    """A process that asks it."""
    path = tmp_path / "poisoned.toml"
    tables = [
        f'[models.{name}]\nlabel = "{name}"\nprovider = "openai"\nmodel = "{name}"\nbase_url = "{servers.url}"\n'
        "first_token_timeout = 0.5\nbetween_tokens_timeout = 0.3\n"
        for name in MANNERS
    ]
    path.write_text('default = "closes-at-once"\n' + "\n".join(tables))
    parts = Runtime(settings.model_copy(update={"models_path": path}))
    yield parts
    parts.close()


def _answer(asked: Asked) -> Message:
    asked.runtime.writer.run()
    return asked.message()


@pytest.mark.parametrize("owned", [False, True], ids=["guest", "owned"])
@pytest.mark.parametrize("when", BEGINNINGS)
@pytest.mark.parametrize("how", ENDS)
def test_the_next_questions_are_answered_and_only_the_first_has_to_find_out(
    runtime: Runtime, servers: ProviderServer, how: str, when: str, owned: bool
) -> None:
    asked = ask(runtime, f"{how}-{when}", owned=owned)
    assert _answer(asked).text == "Fine."
    asked = asked.again(POISON)
    assert _answer(asked).state == "failed"
    asked = asked.again("And now?")
    answer = _answer(asked)
    assert (answer.text, answer.state) == (BEGINNINGS[when] + "Fine.", "complete")
    servers.requests.clear()
    asked = asked.again("And then?")
    assert _answer(asked).text == "Fine."
    assert len(servers.requests) == 1


@pytest.mark.parametrize("owned", [False, True], ids=["guest", "owned"])
def test_what_was_thought_for_a_request_that_was_given_up_is_not_kept(runtime: Runtime, owned: bool) -> None:
    asked = ask(runtime, "thinks-unless-alone", owned=owned)
    assert _answer(asked).text == "Fine."
    asked = asked.again(POISON)
    assert _answer(asked).thinking == "Glitches ..."
    asked = asked.again("And now?")
    answer = _answer(asked)
    assert (answer.text, answer.thinking, answer.thinking_seconds) == ("Fine.", None, None)
    assert [data["text"] for kind, data in asked.events() if kind == "thinking"][-1] == ""
    assert asked.row().reasoning_tokens == 0
