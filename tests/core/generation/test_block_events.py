"""Readers are told an answer's finished blocks as HTML, while it is written."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from core.conversation.keys import keys
from core.llm.providers import openai_compatible  # noqa: F401  half a second that no first token should wait for
from core.runtime import Runtime
from tests.conftest import TurnableClock
from tests.core.generation.asking import Asked, ask
from tests.support.provider import Handler, ProviderServer
from tests.support.waiting import wait_for

BEFORE = "# Grüße 🎉\n\nThe *first* one.\n\n```python\nx = 1\n\n"
AFTER = "y = 2\n```\n\nThe last \\(x^2\\).\n\n- a\n- b"


@pytest.fixture
def runtime(settings: Any, clock: TurnableClock) -> Iterator[Runtime]:
    """A process whose clock the test turns."""
    parts = Runtime(settings, clock=clock)
    yield parts
    parts.close()


@pytest.fixture
def second(settings: Any, clock: TurnableClock) -> Iterator[Runtime]:
    """Another process."""
    parts = Runtime(settings, clock=clock)
    yield parts
    parts.close()


@pytest.fixture(autouse=True)
def _markdown(provider: ProviderServer) -> None:
    """The model `paused` writes Markdown, and waits in the middle of a block of code and before its end."""

    def write(handler: Handler) -> None:
        handler.begin()
        if not any("Grüße" in turn["content"] for turn in provider.requests[-1]["messages"]):
            for character in BEFORE:
                handler.chunk(character)
            _wait(handler)
        for at in range(0, len(AFTER), 3):
            handler.chunk(AFTER[at : at + 3])
        _wait(handler)
        handler.chunk(".\n")
        handler.conclude()

    provider.manners["paused"] = write
    provider.go_on.clear()


def _wait(handler: Handler) -> None:
    while not handler.owner.go_on.wait(0.1):
        handler.say(": still here\n\n")  # also finds out whether the other side is still there
    handler.owner.go_on.clear()


def _blocks(asked: Asked) -> list[dict[str, Any]]:
    """Those that readers have been told, in order."""
    text, blocks = "", []
    for kind, data in asked.events():
        if kind == "delta":
            text += data["text"]
        if kind == "block":
            assert 0 <= data["from"] < data["upto"] <= len(text), "its text has been told before"
            blocks.append(data)
    return blocks


def _html(asked: Asked) -> str:
    return "".join(block["html"] for block in _blocks(asked))


def test_blocks_are_told_as_they_are_finished(runtime: Runtime, provider: ProviderServer) -> None:
    asked = ask(runtime, "paused")
    writer = asked.write()
    wait_for(lambda: "</p>" in _html(asked), what="the first paragraph is told")
    assert _blocks(asked)[0]["html"].startswith("<h1>Grüße 🎉</h1>")
    assert "x = 1" not in _html(asked), "the code goes on"
    assert _blocks(asked)[-1]["upto"] == BEFORE.index("```")
    provider.go_on.set()
    wait_for(lambda: "<math>" in _html(asked), what="what follows is told")
    provider.go_on.set()
    writer.join()
    message = asked.message()
    assert message.text == f"{BEFORE}{AFTER}.\n"
    assert (message.html or "").startswith(_html(asked))
    assert '<span class="mi">1</span>' in (message.html or "")
    assert [block["from"] for block in _blocks(asked)] == [0, *(block["upto"] for block in _blocks(asked)[:-1])]
    assert [kind for kind, _ in asked.events()][-1] == "done"


def test_who_takes_over_tells_them_again(
    runtime: Runtime, second: Runtime, clock: TurnableClock, provider: ProviderServer
) -> None:
    asked = ask(runtime, "paused", owned=True)
    first = asked.write()
    wait_for(lambda: "</p>" in _html(asked), what="the first paragraph is told")
    before = len(_blocks(asked))
    clock.turn(timedelta(seconds=11))
    assert second.reaper.reap().handed_off == (asked.generation_id,)
    other = Asked(second, asked.session, asked.generation_id).write()
    wait_for(lambda: "<math>" in _html(asked), what="the other worker tells of them")
    provider.go_on.set()
    other.join()
    first.join()
    again = _blocks(asked)[before:]
    html = "".join(block["html"] for block in again)
    assert again[0]["from"] == 0
    message = asked.message()
    assert (message.html or "").startswith(html)


def test_a_log_that_redis_has_lost_is_no_hindrance(runtime: Runtime, provider: ProviderServer) -> None:
    asked = ask(runtime, "paused")
    writer = asked.write()
    wait_for(lambda: "</p>" in _html(asked), what="the first paragraph is told")
    runtime.redis.delete(*keys(asked.session.id))
    provider.go_on.set()
    wait_for(lambda: "<math>" in _html(asked), what="what follows is told")
    provider.go_on.set()
    writer.join()
    assert asked.message().text == f"{BEFORE}{AFTER}.\n"
