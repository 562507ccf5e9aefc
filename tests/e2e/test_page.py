"""The chat page in a real browser, against the real system and its real local model."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Route, expect

from tests.e2e.system import System

ANSWER_TIME = 60_000
"""Milliseconds in which the local model ends any answer, on a slow machine too."""
LONG_QUESTION = "Write a long story about a telephone operator and a lighthouse keeper."


class Visitor:
    """Somebody with a browser of their own: cookies, and one or more tabs."""

    def __init__(self, context: BrowserContext, base_url: str) -> None:
        self.context = context
        self.base_url = base_url
        self.complaints: list[str] = []
        """What the pages wrote to their consoles as errors, or threw."""
        self.page = self.tab()

    def tab(self) -> Page:
        page = self.context.new_page()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.base_url)
        return page

    def _console(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.complaints.append(said.text)

    def get(self, path: str) -> Any:
        """What the API says to the holder of this visitor's cookie."""
        response = self.context.request.get(self.base_url + path)
        assert response.ok, response.text()
        return response.json()


Visit = Callable[..., Visitor]


@contextmanager
def visiting(browser: Browser, base_url: str) -> Iterator[Visit]:
    """Opens the page as a new visitor; at the end, no page may have complained."""
    visitors: list[Visitor] = []

    def visit(url: str | None = None, **options: Any) -> Visitor:
        context = browser.new_context(**options)
        visitor = Visitor(context, (url or base_url).rstrip("/"))
        visitors.append(visitor)
        return visitor

    yield visit
    for visitor in visitors:
        visitor.context.close()
    assert [complaint for visitor in visitors for complaint in visitor.complaints] == []


@pytest.fixture
def visit(browser: Browser, system: System) -> Iterator[Visit]:
    """Visitors of one test."""
    with visiting(browser, system.base_url) as visit:
        yield visit


@pytest.fixture(scope="module")
def modules(browser: Browser, system: System) -> Iterator[Page]:
    """A page whose JavaScript modules many tests may import, as long as they leave the page alone."""
    with visiting(browser, system.base_url) as visit:
        yield visit().page


def box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Your message")


def ask(page: Page, question: str) -> None:
    box(page).fill(question)
    box(page).press("Enter")


def ask_for_a_long_answer(page: Page) -> None:
    """At temperature 0 it's the same long answer every time, of several seconds."""
    page.get_by_role("combobox", name="Model").select_option("smollm2-precise")
    ask(page, LONG_QUESTION)


def questions(page: Page) -> Locator:
    return page.get_by_role("article", name="You asked")


def answers(page: Page) -> Locator:
    return page.get_by_role("article", name="Answer")


def expect_answered(page: Page, count: int = 1) -> Locator:
    """Wait until the page shows `count` answers, all of them complete; returns the last."""
    expect(answers(page)).to_have_count(count)
    last = answers(page).last
    expect(last).to_have_attribute("data-state", "complete", timeout=ANSWER_TIME)
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")
    return last


SHOWS = """(body, html) => {
  const told = document.createElement("template");
  told.innerHTML = html;
  const shown = body.cloneNode(true);
  for (const bar of shown.querySelectorAll(".code-bar")) bar.remove();
  for (const frame of shown.querySelectorAll(".code, .table")) frame.replaceWith(...frame.children);
  for (const block of shown.children) block.removeAttribute("dir");
  for (const each of shown.querySelectorAll("[role=group]")) {
    for (const name of ["role", "aria-label", "tabindex"]) each.removeAttribute(name);
  }
  return [...shown.children].map((each) => each.outerHTML).join()
    === [...told.content.children].map((each) => each.outerHTML).join();
}"""


def expect_same_as_server(visitor: Visitor, page: Page) -> None:
    """The page shows exactly what GET /session/messages tells."""
    told = visitor.get("/session/messages")["messages"]
    assert [message["state"] for message in told] == ["complete"] * len(told)
    asked = [message["text"] for message in told if message["role"] == "user"]
    expect(questions(page).locator(".body")).to_have_text(asked)
    for message, shown in zip(
        (message for message in told if message["role"] == "assistant"), answers(page).all(), strict=True
    ):
        assert shown.locator(".body").evaluate(SHOWS, message["html"])


def fails(status: int, problem: dict[str, Any], **headers: str) -> Callable[[Route], None]:
    return lambda route: route.fulfill(
        status=status,
        content_type="application/problem+json",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=json.dumps({"status": status, **problem}),
    )


def test_from_the_first_visit_to_an_answer_and_another_model(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    expect(page.get_by_role("heading", name="Number, please.")).to_be_visible()
    expect(page.get_by_role("combobox", name="Model")).to_have_value("smollm2")
    assert visitor.context.cookies() == [], "looking makes no session"

    page.get_by_role("button", name="Why is the sky blue?").click()
    expect(questions(page)).to_have_text(["Why is the sky blue?"])
    answer = expect_answered(page)
    expect(answer.locator(".body")).not_to_be_empty()
    expect(answer).to_contain_text("SmolLM2 135M")
    expect(page.get_by_text(re.compile(r"Expires in \d+ min"))).to_be_visible()
    assert [cookie["httpOnly"] for cookie in visitor.context.cookies()] == [True]

    page.get_by_role("combobox", name="Model").select_option("smollm2-precise")
    expect(page.get_by_role("status")).to_have_text("SmolLM2 135M, precise answers from now on")
    assert visitor.get("/session/current")["model"] == "smollm2-precise"
    ask(page, "Name one colour.")
    expect(expect_answered(page, 2)).to_contain_text("SmolLM2 135M, precise")
    expect_same_as_server(visitor, page)

    stranger = visit()
    expect(stranger.page.get_by_role("heading", name="Number, please.")).to_be_visible()
    ask(stranger.page, "Who are you?")
    expect_answered(stranger.page)
    expect_same_as_server(stranger, stranger.page)
    assert stranger.get("/session/current")["session_id"] != visitor.get("/session/current")["session_id"]
    expect(questions(stranger.page)).to_have_text(["Who are you?"])


def test_the_model_picked_before_the_first_message_answers_it(visit: Visit) -> None:
    visitor = visit()
    visitor.page.get_by_role("combobox", name="Model").select_option("smollm2-precise")
    ask(visitor.page, "Say hello.")
    expect(expect_answered(visitor.page)).to_contain_text("SmolLM2 135M, precise")
    assert visitor.get("/session/current")["model"] == "smollm2-precise"


def test_a_reload_in_mid_answer_loses_nothing(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    ask_for_a_long_answer(page)
    body = answers(page).last.locator(".body")
    for _ in range(2):
        expect(body).to_have_text(re.compile(r"\w{3}"), timeout=ANSWER_TIME)
        expect(answers(page).last).to_have_attribute("data-state", "streaming")
        page.reload()
    expect(questions(page)).to_have_text([LONG_QUESTION])
    expect_answered(page)
    expect_same_as_server(visitor, page)


def letters(text: str) -> str:
    """Without what Markdown may make of it."""
    return re.sub(r"[\s\d!-/:-@\[-`{-~]", "", text)


def test_the_text_that_streamed_in_is_the_text_that_is_kept(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    streamed = page.evaluate_handle(
        """() => {
          const seen = { last: "" };
          new MutationObserver(() => {
            const body = document.querySelector("[data-state=streaming] .body");
            if (body) seen.last = body.textContent;
          }).observe(document.querySelector("#log"), { subtree: true, childList: true, attributes: true });
          return seen;
        }"""
    )
    ask(page, "Write three short lines about the sea, with an emoji.")
    expect_answered(page)
    told = visitor.get("/session/messages")["messages"][-1]
    shown, kept = letters(streamed.get_property("last").json_value()), letters(told["text"])
    assert kept.startswith(shown)
    assert len(shown) > len(kept) / 2, "the last words may come with the end, and no more than those"


def test_a_second_tab_shows_the_same(visit: Visit) -> None:
    visitor = visit()
    first = visitor.page
    ask(first, "In one sentence: what is a bee?")
    expect(answers(first)).to_have_count(1)
    second = visitor.tab()
    for tab in (first, second):
        expect_answered(tab)
        expect_same_as_server(visitor, tab)

    ask(second, "In one sentence: what is a wasp?")
    expect(questions(first).last).to_have_text("In one sentence: what is a wasp?")
    for tab in (first, second):
        expect_answered(tab, 2)
        expect_same_as_server(visitor, tab)

    first.get_by_role("combobox", name="Model").select_option("smollm2-precise")
    expect(second.get_by_role("combobox", name="Model")).to_have_value("smollm2-precise")
    second.get_by_role("combobox", name="Model").select_option("smollm2")
    expect(first.get_by_role("combobox", name="Model")).to_have_value("smollm2")
    expect(second.get_by_role("alert")).to_be_hidden()


def test_a_switch_that_came_too_late_is_told(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    ask(page, "Hello.")
    expect_answered(page)

    def make_stale(route: Route) -> None:  # as if another tab had just been faster
        route.continue_(headers={**route.request.headers, "if-match": '"0"'})

    page.route("**/session/model", make_stale)
    page.get_by_role("combobox", name="Model").select_option("smollm2-precise")
    expect(page.get_by_role("alert")).to_contain_text("switched somewhere else")
    expect(page.get_by_role("combobox", name="Model")).to_have_value("smollm2")
    assert len(visitor.complaints) == 1, "the browser itself notes the 412"
    visitor.complaints.clear()


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id"))


def tab_to(page: Page, element_id: str, key: str = "Tab") -> None:
    for _ in range(15):
        if focused(page) == element_id:
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} does not reach #{element_id}")


def test_everything_works_from_the_keyboard(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    expect(box(page)).to_be_focused()
    expect(page.get_by_role("combobox", name="Model")).to_be_enabled()
    tab_to(page, "model", "Shift+Tab")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("combobox", name="Model")).to_have_value("smollm2-precise")

    tab_to(page, "message")
    page.keyboard.type("Say hello.")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("Then say goodbye.")
    page.keyboard.press("Enter")
    expect(questions(page).locator(".body")).to_have_text(["Say hello.\nThen say goodbye."])
    answer = expect_answered(page)
    expect(box(page)).to_be_focused()
    expect(box(page)).to_have_value("")

    for _ in range(15):
        page.keyboard.press("Shift+Tab")
        if answer.get_by_role("button", name="Copy").evaluate("button => button === document.activeElement"):
            break
    else:
        raise AssertionError("the answer's Copy button is out of reach")

    tab_to(page, "new", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="New conversation")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, "confirm-delete", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Number, please.")).to_be_visible()
    expect(box(page)).to_be_focused()
    expect(answers(page)).to_have_count(0)
    assert visitor.context.cookies() == []

    page.reload()
    expect(box(page)).to_be_focused()
    tab_to(page, "skip", "Shift+Tab")
    expect(page.get_by_role("link", name="Skip to the message box")).to_be_in_viewport()


def test_enter_belongs_to_the_input_method_while_it_composes(visit: Visit) -> None:
    page = visit().page
    box(page).fill("かな")
    box(page).evaluate(
        "field => field.dispatchEvent(new KeyboardEvent('keydown', "
        "{ key: 'Enter', isComposing: true, bubbles: true, cancelable: true }))"
    )
    expect(box(page)).to_have_value("かな")
    expect(questions(page)).to_have_count(0)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        pytest.param(lambda route: route.abort(), "be reached", id="no connection"),
        pytest.param(fails(503, {"type": "/problems/unavailable"}, Retry_After="7"), "Try again in 7 s", id="503"),
        pytest.param(fails(429, {"type": "/problems/rate-limited"}, Retry_After="30"), "Try again in 30 s", id="429"),
        pytest.param(fails(413, {"type": "/problems/message-too-large"}), "too long", id="413"),
        pytest.param(fails(422, {"detail": "No such thing."}), "No such thing.", id="422"),
    ],
)
def test_a_failing_request_keeps_the_text(visit: Visit, failure: Callable[[Route], None], words: str) -> None:
    visitor = visit()
    page = visitor.page
    page.route("**/chat", failure)
    ask(page, "Is anybody there?")
    expect(page.get_by_role("alert")).to_contain_text(words)
    expect(box(page)).to_have_value("Is anybody there?")
    expect(questions(page)).to_have_count(0)
    visitor.complaints.clear()  # the browser itself notes the failed request

    if words == "be reached":  # once is enough to see it sent again
        page.unroute("**/chat")
        box(page).press("Enter")
        expect(page.get_by_role("alert")).to_be_hidden()
        expect_answered(page)
        assert len(visitor.get("/session/messages")["messages"]) == 2


def test_a_stream_that_cannot_be_opened_is_opened_later(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    refusals = iter(range(2))

    def refuse_twice(route: Route) -> None:
        if next(refusals, None) is None:
            route.continue_()
        else:
            fails(503, {"type": "/problems/unavailable"})(route)

    page.route("**/chat/sse*", refuse_twice)
    ask(page, "In one sentence: what is a cloud?")
    expect_answered(page)
    expect_same_as_server(visitor, page)
    assert next(refusals, None) is None
    visitor.complaints.clear()


def test_an_answer_is_stopped_and_what_was_shown_stays(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    ask(page, "Tell me a long story about a lighthouse.")
    expect(answers(page).last.locator(".body")).to_contain_text(re.compile(r"\w+ \w+"))
    page.get_by_role("button", name="Stop the answer").click()
    expect(answers(page).last).to_have_attribute("data-state", "stopped")
    expect(page.get_by_role("button", name="Stop the answer")).to_be_hidden()
    stopped = visitor.get("/session/messages")["messages"][-1]
    assert stopped["state"] == "stopped"
    assert stopped["text"]
    page.reload()
    expect(answers(page).last).to_have_attribute("data-state", "stopped")
    expect(answers(page).last).to_contain_text(stopped["text"].split()[0])
    ask(page, "In one sentence: what is a bell?")
    expect_answered(page, 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_web_server_that_is_replaced_in_mid_answer_costs_nothing(
    visit: Visit, system: System, number: signal.Signals
) -> None:
    visitor = visit()
    page = visitor.page
    ask(page, "Tell me a story about a lighthouse and a ship.")
    expect(answers(page).last.locator(".body")).to_contain_text(re.compile(r"\w+ \w+"))
    web = system.child("gunicorn")
    assert web is not None
    web.send_signal(number)
    web.wait(15)
    system.until(system.ready)
    expect_answered(page)
    expect_same_as_server(visitor, page)
    visitor.complaints.clear()  # the browser tells of the connections that were refused


def test_an_unanswered_question_can_be_asked_again(visit: Visit) -> None:
    """The model's server can't be made to fail from here, so the API is played."""
    visitor = visit()
    page = visitor.page
    message = {"html": None, "model": None, "created_at": "2026-01-01T00:00:00Z"}
    told = [
        {"id": "1", "role": "user", "text": "Are you there?", "state": "complete", **message},
        {"id": "2", "role": "assistant", "text": "", "state": "failed", **message},
    ]
    session = {"session_id": "s", "model": "smollm2", "version": 1, "expires_at": "2099-01-01T00:00:00Z"}
    visitor.context.add_cookies([{"name": "switchboard", "value": "s.secret", "url": visitor.base_url}])
    page.route("**/session/current", lambda route: route.fulfill(json=session))
    page.route("**/session/messages", lambda route: route.fulfill(json={"messages": told, "cursor": "e-1"}))
    page.route("**/chat/sse*", lambda route: route.fulfill(content_type="text/event-stream", body=": \n\n"))
    page.route("**/session/queue", lambda route: route.fulfill(json={"waiting": []}))
    page.route("**/chat/regenerate", fails(429, {"type": "/problems/rate-limited"}))
    page.reload()
    expect(answers(page)).to_contain_text("This question was not answered")
    with page.expect_request("**/chat/regenerate") as asked:
        page.get_by_role("button", name="Try again").click()
    assert asked.value.post_data_json == {"message_id": "2"}
    expect(page.get_by_role("alert")).to_be_visible()
    visitor.complaints.clear()


def test_a_conversation_that_is_over_keeps_the_unsent_text(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    ask(page, "Say hello.")
    expect_answered(page)
    box(page).fill("One more thing")
    deleted = visitor.context.request.delete(visitor.base_url + "/session")
    assert deleted.status == 204
    expect(page.get_by_role("heading", name="This conversation is over.")).to_be_visible()
    expect(answers(page)).to_have_count(1)

    page.get_by_role("button", name="Start a new conversation").click()
    expect(box(page)).to_have_value("One more thing")
    box(page).press("Enter")
    expect_answered(page)
    expect(questions(page)).to_have_text(["One more thing"])


def test_the_length_is_counted_near_the_limit_only(visit: Visit) -> None:
    page = visit().page
    count, send = page.locator("#count"), page.get_by_role("button", name="Send")
    box(page).fill("x" * 20_000)
    expect(count).to_be_empty()
    box(page).fill("x" * 32_000)
    expect(count).to_have_text("768 bytes left")
    box(page).fill("ß" * 16_384)
    expect(count).to_have_text("0 bytes left")
    expect(send).to_be_enabled()
    box(page).fill("ß" * 16_385)
    expect(count).to_have_text("2 bytes too long")
    expect(send).to_be_disabled()


def test_a_reader_further_up_is_left_alone(visit: Visit) -> None:
    visitor = visit(viewport={"width": 360, "height": 420})
    page = visitor.page
    ask_for_a_long_answer(page)
    latest = page.get_by_role("button", name="Jump to latest")
    scroller = page.get_by_role("region", name="Conversation")
    expect(answers(page).last.locator(".body")).to_have_text(re.compile(".{900}", re.DOTALL), timeout=ANSWER_TIME)
    expect(latest).to_be_hidden()
    scroller.hover()
    page.mouse.wheel(0, -120)
    expect(latest).to_be_visible()
    place = scroller.evaluate("scroller => scroller.scrollTop")
    expect_answered(page)
    assert abs(scroller.evaluate("scroller => scroller.scrollTop") - place) < 40
    latest.click()
    expect(latest).to_be_hidden()
    assert scroller.evaluate("s => s.scrollHeight - s.scrollTop - s.clientHeight") < 2


def test_a_phone_shows_everything_without_scrolling_sideways(visit: Visit) -> None:
    visitor = visit(viewport={"width": 360, "height": 640}, is_mobile=True, has_touch=True)
    page = visitor.page
    page.get_by_role("button", name="Give me three tips").wait_for()

    def check() -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        small = page.locator("button:visible, select:visible, textarea:visible").evaluate_all(
            "found => found.filter(e => e.offsetHeight < 44 || e.offsetWidth < 44).map(e => e.outerHTML)"
        )
        assert small == [], "too small for a finger"
        assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('#message')).fontSize)") >= 16

    check()
    page.get_by_role("button", name="Give me three tips").tap()
    expect_answered(page)
    check()
    page.get_by_role("button", name="New conversation").tap()
    check()


def test_the_page_is_revalidated_and_needs_no_inline_code(visit: Visit) -> None:
    visitor = visit()
    response = visitor.context.request.get(visitor.base_url + "/")
    assert response.headers["cache-control"] == "no-cache"
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", response.text())


REDUCE = """async (events) => {
  const { reduce, initialState } = await import("/static/js/conversation/reducer.js");
  const started = { type: "started", data: { generation_id: "g", model: "m" } };
  let state = reduce(initialState, { type: "event", event: started });
  state = { ...state, stale: false };
  for (const [type, data] of events) {
    state = reduce(state, { type: "event", event: { type, data: { generation_id: "g", ...data } } });
  }
  return { text: state.live?.text ?? state.messages.at(-1)?.text, stale: state.stale };
}"""


def delta(at: int, text: str) -> tuple[str, dict[str, Any]]:
    return "delta", {"at": at, "text": text}


@pytest.mark.parametrize(
    ("events", "text", "stale"),
    [
        pytest.param([delta(0, "ab"), delta(2, "cd")], "abcd", False, id="in order"),
        pytest.param([delta(0, "ab"), delta(0, "ab"), delta(1, "bc")], "abc", False, id="repeated and overlapping"),
        pytest.param([delta(0, "a👋🏽"), delta(3, "b"), delta(2, "🏽bc")], "a👋🏽bc", False, id="code points"),
        pytest.param([delta(0, "ab"), delta(3, "d")], "ab", True, id="a gap"),
        pytest.param([delta(0, "abc"), ("resumed", {"at": 2}), delta(2, "d")], "abd", False, id="resumed earlier"),
        pytest.param([delta(0, "ab"), ("delta", {"generation_id": "h", "at": 0})], "ab", True, id="foreign"),
        pytest.param([delta(0, "ab"), ("done", {}), delta(2, "c"), ("done", {})], "ab", True, id="after the end"),
    ],
)
def test_events_become_text(modules: Page, events: list[Any], text: str, *, stale: bool) -> None:
    assert modules.evaluate(REDUCE, events) == {"text": text, "stale": stale}
