"""Thinking and unusual ends, from a model's server through workers, events and rows to the page and its reload."""

import re
import signal
from collections.abc import Iterator
from threading import Event as Flag

import pytest
from playwright.sync_api import expect

from tests.e2e import test_page
from tests.e2e.system import System, running
from tests.e2e.test_page import Visit, answers, ask
from tests.e2e.test_page_in_trouble import choose, shown, under
from tests.e2e.test_page_thinking import fold, thoughts
from tests.support.provider import ANSWER, THOUGHT, ProviderServer

visit = test_page.visit


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderServer]:
    """A model server of this module's own: one flag holds all its paused answers."""
    server = ProviderServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def system(provider: ProviderServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system over that server."""
    directory = tmp_path_factory.mktemp("thinkers")
    models = directory / "models.toml"
    models.write_text(provider.models_toml())
    options = {
        "SWITCHBOARD_MODELS": str(models),
        "SWITCHBOARD_LEASE": "2s",
        "SWITCHBOARD_LIMIT_MESSAGES_ANONYMOUS": "off",
        "SWITCHBOARD_LIMIT_TOKENS_ANONYMOUS": "off",
    }
    with running(directory / "state", **options) as started:
        yield started


@pytest.fixture
def go_on(provider: ProviderServer) -> Iterator[Flag]:
    """Holds the slow thinkers until it is set."""
    provider.go_on.clear()
    yield provider.go_on
    provider.go_on.set()


def test_a_model_that_thinks_aloud(visit: Visit, go_on: Flag) -> None:
    page = visit().page
    choose(page, "thinks-slowly")
    ask(page, "Why?")
    for _ in range(2):
        expect(under(page)).to_have_text("thinks-slowly is thinking")
        expect(fold(page)).to_have_text("Thinking…")
        fold(page).click()
        expect(thoughts(page)).to_have_text(re.compile(r"^Hmm\.{3}"))
        page.reload()
    expect(fold(page)).to_have_text("Thinking…")
    go_on.set()
    for _ in range(2):
        expect(under(page)).to_have_text("thinks-slowly")
        expect(shown(page)).to_have_text(ANSWER)
        expect(fold(page)).to_have_text(re.compile(r"^Thought for \d s$"))
        expect(thoughts(page)).to_have_text(re.compile(r"^Hmm\.+$"))
        page.reload()


def test_thoughts_between_paragraphs_are_appended(visit: Visit) -> None:
    page = visit().page
    choose(page, "thinks-between")
    ask(page, "Why?")
    for _ in range(2):
        expect(under(page)).to_have_text("thinks-between")
        expect(thoughts(page)).to_have_text("So. So. ")
        expect(shown(page)).to_have_text(ANSWER)
        page.reload()


def test_thinking_that_is_stopped_stays(visit: Visit, go_on: Flag) -> None:
    page = visit().page
    choose(page, "thinks-slowly")
    ask(page, "Why?")
    expect(fold(page)).to_have_text("Thinking…")
    page.get_by_role("button", name="Stop the answer").click()
    for _ in range(2):
        expect(under(page)).to_have_text("Stopped · thinks-slowly")
        expect(fold(page)).to_have_text(re.compile(r"^Thought for \d s$"))
        expect(thoughts(page)).to_have_text(re.compile(r"^Hmm\.*$"))
        page.reload()
    go_on.set()
    choose(page, "good")
    ask(page, "And now?")
    expect(answers(page)).to_have_count(2)
    expect(shown(page)).to_have_text(ANSWER)


def test_thinking_begins_again_with_another_worker(visit: Visit, system: System, go_on: Flag) -> None:
    page = visit().page
    choose(page, "thinks-slowly")
    ask(page, "Why?")
    expect(thoughts(page)).to_have_text(re.compile(r"^Hmm\.{8}"))
    before = len(thoughts(page).text_content() or "")
    fold(page).click()
    worker = system.child("--queues chat")
    assert worker is not None
    worker.send_signal(signal.SIGKILL)
    page.wait_for_function(
        "before => document.querySelector('details > div').textContent.length < before", arg=before, timeout=20_000
    )
    expect(thoughts(page)).to_have_text(re.compile(r"^Hmm\.*$"))
    expect(thoughts(page)).to_be_visible()
    go_on.set()
    expect(shown(page)).to_have_text(ANSWER)
    expect(thoughts(page)).to_have_text(re.compile(r"^Hmm\.*$"))


LONGEST = """log => {
  const seen = { length: 0 };
  const look = () => {
    seen.length = Math.max(seen.length, log.querySelector("details > div")?.textContent.length ?? 0);
  };
  new MutationObserver(look).observe(log, { childList: true, subtree: true, characterData: true });
  return seen;
}"""
"""How long the thinking of the only answer has ever been."""


@pytest.mark.parametrize("model", ["thinks-then-breaks", "thinks-then-falls-back"])
def test_thinking_that_begins_again_is_never_seen_twice(visit: Visit, model: str) -> None:
    page = visit().page
    choose(page, model)
    longest = page.locator("#log").evaluate_handle(LONGEST)
    ask(page, "Why?")
    expect(answers(page).last).to_have_attribute("data-state", re.compile("complete|failed"), timeout=20_000)
    assert longest.evaluate("seen => seen.length") == len(THOUGHT.encode("utf-16-le")) // 2
    for _ in range(2):
        expect(thoughts(page)).to_have_text(THOUGHT)
        page.reload()


ENDS = {
    "cut-short": ("cut-short · The answer reached its length limit.", "Continue"),
    "filtered-midway": ("filtered-midway · The provider’s filter stopped this answer.", "Try again"),  # noqa: RUF001
    "wants-a-tool-midway": ("wants-a-tool-midway asked for a tool, which this chat does not have.", "Try again"),
    "ends-oddly-midway": ("ends-oddly-midway · The provider ended this answer without saying why.", "Try again"),
    "wants-a-tool": ("wants-a-tool asked for a tool, which this chat does not have.", "Try again"),
    "filtered": ("filtered has a filter that refused this message. Rephrase it.", "Try again"),
    "empty": ("empty gave no answer. Try again.", "Try again"),
    "blank": ("blank gave no answer. Try again.", "Try again"),
    "no-room": ("no-room reached its length limit before its first word. Try again.", "Try again"),
    "only-thinks": ("only-thinks gave no answer. Try again.", "Try again"),
    "thinks-then-breaks": (
        "thinks-then-breaks sent no answer. Try again in a moment, or choose another model.",
        "Try again",
    ),
}


def test_ends_are_told_as_they_are_and_the_session_goes_on(visit: Visit) -> None:
    page = visit().page
    for count, (model, (words, button)) in enumerate(ENDS.items(), start=1):
        choose(page, model)
        ask(page, "Well?")
        expect(answers(page)).to_have_count(count)
        expect(under(page)).to_have_text(words, timeout=20_000)
        expect(answers(page).last.get_by_role("button", name=button)).to_be_visible()
        expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")
    page.reload()
    expect(answers(page).locator(".answer-status")).to_have_text([words for words, _ in ENDS.values()])
    expect(answers(page).nth(list(ENDS).index("only-thinks")).locator("details > div")).to_have_text(THOUGHT)
    choose(page, "thinks")
    page.get_by_role("button", name="Try again").click()
    expect(shown(page)).to_have_text(ANSWER)
    expect(fold(page)).to_have_text("Thought for 1 s")
