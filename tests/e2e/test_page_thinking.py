"""What the page makes of thinking: in a real browser, over a server that does on demand what no real one does."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import JSHandle, Locator, Page, expect

from tests.e2e import test_page
from tests.e2e.stage import Stage
from tests.e2e.test_page import Visit, answers, ask
from tests.e2e.test_page_in_trouble import shown, under

visit = test_page.visit
modules = test_page.modules


@pytest.fixture(autouse=True)  # it is there before any page, and goes after it
def stage() -> Iterator[Stage]:
    server = Stage()
    yield server
    server.stop()


@pytest.fixture
def page(visit: Visit, stage: Stage) -> Page:
    page = visit().page
    stage.play(page)
    return page


def fold(page: Page) -> Locator:
    """The line above the last answer that its thinking is folded under."""
    return answers(page).last.locator("summary")


def thoughts(page: Page) -> Locator:
    return answers(page).last.locator("details > div")


def heard(page: Page) -> JSHandle:
    """From now on, what those who listen are told."""
    return page.evaluate_handle(
        """() => {
          const told = [];
          const node = document.querySelector("#announcer");
          new MutationObserver(() => told.push(node.textContent)).observe(node, { childList: true });
          return told;
        }"""
    )


def test_thinking_is_folded_above_the_answer_and_opens_while_it_comes(page: Page, stage: Stage) -> None:
    told = heard(page)
    ask(page, "Why?")
    expect(under(page)).to_have_text("Connecting to Deep")
    expect(fold(page)).to_be_hidden()
    stage.tell("thinking", at=0, text="Let me see. ")
    expect(fold(page)).to_have_text("Thinking…")
    expect(under(page)).to_have_text("Deep is thinking")
    expect(thoughts(page)).to_be_hidden()
    fold(page).click()
    expect(thoughts(page)).to_be_visible()
    stage.tell("thinking", at=12, text="<b>Yes</b> & no.\n")
    expect(thoughts(page)).to_have_text("Let me see. <b>Yes</b> & no.")
    stage.tell("delta", at=0, text="Because. ")
    expect(under(page)).to_have_text("Deep is answering")
    expect(fold(page)).to_have_text(re.compile(r"Thought for \d s"))

    stage.tell("thinking", at=29, text="Or not?")  # between two paragraphs
    expect(fold(page)).to_have_text("Thinking…")
    expect(under(page)).to_have_text("Deep is thinking")
    stage.tell("delta", at=9, text="That is why.")
    stage.end(thinking_seconds=75)
    expect(fold(page)).to_have_text("Thought for 1 min 15 s")
    expect(thoughts(page)).to_be_visible()
    expect(thoughts(page)).to_have_text("Let me see. <b>Yes</b> & no.\nOr not?", use_inner_text=True)
    expect(shown(page)).to_have_text("Because. That is why.")
    assert told.json_value() == ["Deep is thinking", "Answering", "Answer complete"]

    page.reload()
    expect(fold(page)).to_have_text("Thought for 1 min 15 s")
    expect(thoughts(page)).to_be_hidden()
    expect(thoughts(page)).to_have_text("Let me see. <b>Yes</b> & no.\nOr not?")


def test_the_fold_works_from_the_keyboard_and_is_no_news(page: Page, stage: Stage) -> None:
    stage.begin()
    stage.tell("thinking", at=0, text="Hm.")
    expect(fold(page)).to_be_visible()
    for _ in range(15):
        page.keyboard.press("Shift+Tab")
        if fold(page).evaluate("summary => summary === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(thoughts(page)).to_be_visible()
    stage.tell("thinking", at=3, text=" Well.")
    expect(thoughts(page)).to_have_text("Hm. Well.")
    expect(fold(page)).to_be_focused()
    assert answers(page).last.locator("details").get_attribute("aria-live") == "off"
    page.keyboard.press("Space")
    expect(thoughts(page)).to_be_hidden()
    stage.end(thinking_seconds=2)
    expect(fold(page)).to_have_text("Thought for 2 s")
    expect(fold(page)).to_be_focused()
    expect(thoughts(page)).to_be_hidden()


def test_the_time_that_it_took_is_counted_by_the_page_until_the_server_says_it(visit: Visit, stage: Stage) -> None:
    page = visit().page
    page.clock.install()
    stage.play(page)
    ask(page, "Why?")
    expect(under(page)).to_have_text("Connecting to Deep")
    stage.tell("thinking", at=0, text="Hm.")
    expect(fold(page)).to_have_text("Thinking…")
    page.clock.fast_forward(20_000)
    stage.tell("delta", at=0, text="Because")
    expect(fold(page)).to_have_text(re.compile(r"Thought for 2\d s"))
    stage.tell("thinking", at=3, text="Or?")
    expect(fold(page)).to_have_text("Thinking…")
    page.clock.fast_forward(20_000)
    stage.tell("delta", at=7, text=".")
    expect(fold(page)).to_have_text(re.compile(r"Thought for 4\d s"))
    stage.end(thinking_seconds=41)
    expect(fold(page)).to_have_text("Thought for 41 s")


def test_who_comes_in_the_middle_sees_all_of_it_and_no_wrong_time(page: Page, stage: Stage) -> None:
    stage.begin()
    stage.tell("thinking", at=0, text="First. ")
    expect(fold(page)).to_have_text("Thinking…")
    page.reload()
    expect(fold(page)).to_have_text("Thinking…")
    expect(under(page)).to_have_text("Deep is thinking")
    stage.tell("thinking", at=7, text="Second.")
    expect(thoughts(page)).to_have_text("First. Second.")
    stage.tell("delta", at=0, text="Well,")
    expect(fold(page)).to_have_text("Thought")


def test_after_a_takeover_the_thinking_begins_again(page: Page, stage: Stage) -> None:
    stage.begin()
    stage.tell("thinking", at=0, text="All of this is lost.")
    fold(page).click()
    stage.tell("resumed", attempt=2, at=0, thinking=0)
    expect(under(page)).to_have_text("Connecting to Deep")
    expect(fold(page)).to_be_hidden()
    stage.tell("thinking", at=0, text="Anew.")
    expect(thoughts(page)).to_have_text("Anew.")
    expect(thoughts(page)).to_be_visible()
    stage.tell("thinking", at=0, text="And anew.")
    expect(thoughts(page)).to_have_text("And anew.")
    stage.tell("delta", at=0, text="So: ")
    stage.tell("resumed", attempt=3, at=4, thinking=9)
    stage.tell("thinking", at=9, text=" Then on.")
    stage.tell("delta", at=4, text="yes.")
    stage.end(thinking_seconds=3)
    expect(thoughts(page)).to_have_text("And anew. Then on.")
    expect(shown(page)).to_have_text("So: yes.")


def test_another_model_thinks_in_its_place(page: Page, stage: Stage) -> None:
    stage.begin()
    stage.tell("thinking", at=0, text="Mine.")
    expect(thoughts(page)).to_have_text("Mine.")
    stage.tell("fallback", **{"from": "deep"}, to="plain", reason="server-error", thinking=0)
    expect(fold(page)).to_be_hidden()
    stage.tell("thinking", at=0, text="Yours.")
    expect(thoughts(page)).to_have_text("Yours.")
    expect(under(page)).to_have_text("Plain is thinking, because Deep had an error")
    stage.tell("delta", at=0, text="Yes.")
    stage.end(thinking_seconds=1)
    expect(under(page)).to_have_text("Answered by Plain, because Deep had an error")


def test_the_same_model_asked_again_is_no_other_model(page: Page, stage: Stage) -> None:
    stage.begin()
    stage.tell("thinking", at=0, text="Too much.")
    stage.tell("fallback", **{"from": "deep"}, to="deep", reason="too-long", thinking=0)
    expect(under(page)).to_have_text("Connecting to Deep")
    stage.tell("delta", at=0, text="Yes.")
    stage.end()
    expect(under(page)).to_have_text("Deep")


@pytest.mark.parametrize(
    ("event", "fields", "words"),
    [
        ("stopped", {"finish_reason": "stopped"}, "Stopped · Deep"),
        ("failed", {"finish_reason": "error"}, "This question was not answered."),
    ],
)
def test_what_was_thought_stays_with_an_answer_that_never_came(
    page: Page, stage: Stage, event: str, fields: dict[str, Any], words: str
) -> None:
    stage.begin()
    stage.tell("thinking", at=0, text="Hm.")
    expect(fold(page)).to_have_text("Thinking…")
    stage.end(event, **fields, thinking_seconds=5)
    for _ in range(2):
        expect(under(page)).to_have_text(words)
        expect(fold(page)).to_have_text("Thought for 5 s")
        expect(shown(page)).to_be_hidden()
        fold(page).click()
        expect(thoughts(page)).to_have_text("Hm.")
        page.reload()


def test_a_server_from_before_all_this_is_understood(page: Page, stage: Stage) -> None:
    stage.begin()
    stage.tell("delta", at=0, text="Yes.")
    stage.end()
    for name in ("finish_reason", "thinking", "thinking_seconds", "problem"):
        for message in stage.messages:
            del message[name]
    for _ in range(2):
        expect(under(page)).to_have_text("Deep")
        expect(fold(page)).to_be_hidden()
        expect(answers(page).last.get_by_role("button")).to_have_text(["Copy", "Again", ""])
        page.reload()


LONGEST = 200_000
PIECE = "Wörter über Wörter 🎉, and a line now and then.\n"


def test_a_very_long_thinking_is_appended_and_nothing_of_it_drawn_twice(page: Page, stage: Stage) -> None:
    stage.begin()
    stage.tell("thinking", at=0, text=PIECE)
    fold(page).click()
    drawn = thoughts(page).evaluate_handle(
        """body => {
          const seen = { added: body.textContent.length, removed: 0 };
          new MutationObserver((changes) => {
            for (const { addedNodes, removedNodes } of changes) {
              for (const node of addedNodes) if (node.nodeType === Node.TEXT_NODE) seen.added += node.length;
              seen.removed += removedNodes.length;
            }
          }).observe(body, { childList: true, subtree: true });
          return seen;
        }"""
    )
    count = LONGEST // len(PIECE)
    for nth in range(1, count):
        stage.tell("thinking", at=nth * len(PIECE), text=PIECE)
    stage.tell("delta", at=0, text="Done.")
    expect(under(page)).to_have_text("Deep is answering", timeout=30_000)
    assert thoughts(page).evaluate("body => body.textContent") == PIECE * count
    assert drawn.evaluate("seen => seen.removed") == 0
    length = thoughts(page).evaluate("body => body.textContent.length")
    assert length // 2 < drawn.evaluate("seen => seen.added") <= length
    longest = thoughts(page).evaluate(
        "body => Math.max(...[...body.children].map((each) => each.textContent.length))"
    )
    assert longest < 3_000, "a browser lays out a block anew when it grows"


def test_opening_it_does_not_carry_the_reader_away(visit: Visit, stage: Stage) -> None:
    page = visit(viewport={"width": 360, "height": 420}).page
    stage.play(page)
    stage.begin()
    stage.tell("thinking", at=0, text="A line.\n" * 200)
    stage.tell("delta", at=0, text="In short.")
    stage.end(thinking_seconds=9)
    expect(fold(page)).to_have_text("Thought for 9 s")
    place = fold(page).bounding_box()
    fold(page).click()
    expect(page.get_by_role("button", name="Jump to latest")).to_be_visible()
    assert fold(page).bounding_box() == place
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert place is not None
    assert place["height"] >= 44, "too small for a finger"

    page.get_by_role("button", name="Jump to latest").click()
    expect(shown(page)).to_be_in_viewport()
    page.mouse.wheel(0, -200)
    expect(fold(page)).to_be_in_viewport()  # also from the middle of it
    fold(page).click()
    expect(thoughts(page)).to_be_hidden()
    expect(page.get_by_role("button", name="Jump to latest")).to_be_hidden()


def test_who_opens_it_at_the_end_still_follows_the_answer(page: Page, stage: Stage) -> None:
    stage.begin()
    stage.tell("thinking", at=0, text="Hm.")
    fold(page).click()
    expect(thoughts(page)).to_be_visible()
    stage.tell("delta", at=0, text="A line.\n" * 200 + "The last one.")
    expect(shown(page)).to_contain_text("The last one.")
    expect(under(page)).to_be_in_viewport()
    expect(page.get_by_role("button", name="Jump to latest")).to_be_hidden()


REDUCE = """async (events) => {
  const { items, reduce, initialState } = await import("/static/js/conversation/reducer.js");
  const started = { type: "started", data: { generation_id: "g", model: "m" } };
  let state = reduce(initialState, { type: "event", event: started });
  state = { ...state, stale: false };
  for (const [type, moment, data] of events) {
    state = reduce(state, { type: "event", moment, event: { type, data: { generation_id: "g", ...data } } });
  }
  const { text, thinking, thinking_seconds: seconds } = items(state).at(-1);
  return { text, thinking, seconds, stale: state.stale };
}"""


def thinks(at: int, text: str, moment: int = 0) -> Any:
    return "thinking", moment, {"at": at, "text": text}


def says(at: int, text: str, moment: int = 0) -> Any:
    return "delta", moment, {"at": at, "text": text}


@pytest.mark.parametrize(
    ("events", "thinking", "stale"),
    [
        pytest.param([thinks(0, "ab"), thinks(2, "cd")], "abcd", False, id="in order"),
        pytest.param([thinks(0, "a👋🏽"), thinks(3, "b"), thinks(2, "🏽c")], "a👋🏽c", False, id="code points"),
        pytest.param([thinks(0, "abc"), thinks(0, "x")], "x", False, id="begun again"),
        pytest.param([thinks(0, "abc"), thinks(1, "x")], "ax", False, id="from the middle"),
        pytest.param([thinks(0, "abc"), thinks(1, "")], "a", False, id="cut"),
        pytest.param([thinks(0, "ab"), thinks(3, "d")], "ab", True, id="a gap"),
        pytest.param([thinks(1, "b")], "", True, id="no beginning"),
        pytest.param([thinks(0, "a👋🏽"), ("resumed", 0, {"at": 0, "thinking": 2})], "a👋", False, id="resumed"),
        pytest.param([thinks(0, "ab"), ("resumed", 0, {"at": 0, "thinking": 3})], "ab", True, id="resumed beyond"),
        pytest.param([thinks(0, "ab"), ("resumed", 0, {"at": 0})], "ab", False, id="resumed by an older server"),
        pytest.param(
            [thinks(0, "ab"), ("fallback", 0, {"to": "n", "thinking": 3})], "ab", True, id="fallback beyond"
        ),
        pytest.param([("thinking", 0, {"generation_id": "h", "at": 0, "text": "x"})], "", True, id="foreign"),
    ],
)
def test_events_become_thinking(modules: Page, events: list[Any], thinking: str, *, stale: bool) -> None:
    told = modules.evaluate(REDUCE, events)
    assert (told["thinking"], told["stale"]) == (thinking, stale)


@pytest.mark.parametrize(
    ("events", "seconds"),
    [
        pytest.param([thinks(0, "a", 1_000), thinks(1, "b", 9_000), says(0, "x", 13_400)], 12, id="one stretch"),
        pytest.param([thinks(0, "a", 0), says(0, "x", 10)], 1, id="at least one"),
        pytest.param(
            [thinks(0, "a", 0), says(0, "x", 3_000), thinks(1, "b", 50_000), says(1, "y", 54_000)], 7, id="two"
        ),
        pytest.param([thinks(0, "a", 0), ("stopped", 8_000, {})], 8, id="stopped in the middle"),
        pytest.param(
            [
                thinks(0, "a", 0),
                ("resumed", 40_000, {"at": 0, "thinking": 0}),
                thinks(0, "b", 50_000),
                says(0, "x", 52_000),
            ],
            2,
            id="begun again",
        ),
        pytest.param([says(0, "x", 5)], None, id="none"),
    ],
)
def test_moments_become_seconds(modules: Page, events: list[Any], seconds: int | None) -> None:
    assert modules.evaluate(REDUCE, events)["seconds"] == seconds
