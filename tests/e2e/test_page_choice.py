"""Which model a question goes to, and who has the focus, while requests are under way: in a real browser, over a
played server."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.e2e import test_page, test_page_thinking
from tests.e2e.stage import MODEL, OTHER, Stage
from tests.e2e.test_page import Visit, Visitor, answers, ask, box, fails, questions
from tests.e2e.test_page_in_trouble import under

visit = test_page.visit
stage = test_page_thinking.stage
THIRD = {**MODEL, "name": "third", "label": "Third"}


@pytest.fixture
def visitor(visit: Visit, stage: Stage) -> Visitor:
    """Somebody in a conversation with one answer, cut short by its length."""
    visitor = visit()
    page = visitor.page
    stage.models = [MODEL, OTHER, THIRD]
    stage.begin("First?")
    stage.tell("delta", at=0, text="Yes")
    stage.end(finish_reason="length")
    stage.play(page)
    expect(answers(page)).to_have_count(1)
    expect(box(page)).to_be_focused()
    return visitor


@pytest.fixture
def page(visitor: Visitor) -> Page:
    return visitor.page


def hold(page: Page, path: str, times: int | None = None) -> list[Route]:
    """The next `times` requests, or all: they wait until they are let go."""
    held: list[Route] = []
    page.route(f"**/{path}", lambda route: held.append(route), times=times)
    return held


def let_go(page: Page, held: list[Route]) -> None:
    """The oldest one, as soon as it is there."""
    held_one(page, held).fallback()


def held_one(page: Page, held: list[Route]) -> Route:
    for _ in range(100):
        if held:
            return held.pop(0)
        page.wait_for_timeout(20)
    raise AssertionError("nothing was asked")


def picker(page: Page) -> Locator:
    return page.get_by_role("combobox", name="Model")


def press(name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("button", name=name).click()


@pytest.mark.parametrize(
    "way", [pytest.param(lambda page: ask(page, "Second?"), id="Enter"), pytest.param(press("Again:"), id="Again")]
)
def test_a_question_waits_for_the_model_that_was_chosen(
    page: Page, stage: Stage, way: Callable[[Page], None]
) -> None:
    held = hold(page, "session/model")
    picker(page).select_option("plain")
    way(page)
    expect(answers(page).get_by_role("button", name="Again:")).to_be_hidden()
    page.wait_for_timeout(200)
    assert stage.asked == []
    expect(picker(page)).to_have_value("plain")
    let_go(page, held)
    expect(under(page)).to_have_text("Connecting to Plain")
    assert stage.messages[-1]["model"] == "plain"
    expect(page.get_by_role("alert")).to_be_hidden()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(fails(429, {"type": "/problems/rate-limited"}, Retry_After="9"), "Try again", id="refused"),
        pytest.param(lambda route: route.abort(), "reached", id="lost"),
    ],
)
def test_a_question_is_not_lost_with_the_switch_that_it_waits_for(
    visitor: Visitor,
    page: Page,
    stage: Stage,
    answer: Callable[[Route], None],
    words: str,
) -> None:
    held = hold(page, "session/model")
    picker(page).select_option("plain")
    ask(page, "Second?")
    expect(questions(page)).to_have_count(2)
    page.wait_for_timeout(50)
    answer(held.pop())
    expect(box(page)).to_have_value("Second?")
    expect(page.get_by_role("alert")).to_contain_text(words)
    expect(questions(page)).to_have_text(["First?"])
    expect(picker(page)).to_have_value("deep")
    assert stage.asked == []
    box(page).press("Enter")
    expect(under(page)).to_have_text("Connecting to Deep")
    visitor.complaints.clear()  # the browser itself notes requests that failed


def test_a_question_does_not_go_to_what_another_tab_has_chosen(visitor: Visitor, page: Page, stage: Stage) -> None:
    held = hold(page, "session/model")
    picker(page).select_option("plain")
    ask(page, "Second?")
    stage.switch("third")
    let_go(page, held)
    expect(page.get_by_role("alert")).to_contain_text("It is Third now")
    expect(box(page)).to_have_value("Second?")
    expect(picker(page)).to_have_value("third")
    assert stage.asked == []
    visitor.complaints.clear()


def test_two_tabs_that_choose_the_same_agree(visitor: Visitor, page: Page, stage: Stage) -> None:
    held = hold(page, "session/model")
    picker(page).select_option("plain")
    ask(page, "Second?")
    stage.switch("plain")
    let_go(page, held)
    expect(under(page)).to_have_text("Connecting to Plain")
    expect(page.get_by_role("alert")).to_be_hidden()
    visitor.complaints.clear()


def test_of_quick_choices_the_last_one_counts(page: Page, stage: Stage) -> None:
    held = hold(page, "session/model")
    for model in ("plain", "deep", "third"):
        picker(page).select_option(model)
    ask(page, "Second?")
    let_go(page, held)
    let_go(page, held)
    expect(under(page)).to_have_text("Connecting to Third")
    expect(picker(page)).to_have_value("third")
    assert held == [], "what was chosen in between is not asked for"


def test_a_choice_after_the_question_is_for_the_next_one(page: Page, stage: Stage) -> None:
    held = hold(page, "chat")
    ask(page, "Second?")
    picker(page).select_option("plain")
    page.wait_for_timeout(100)
    let_go(page, held)
    expect(under(page)).to_have_text("Connecting to Deep")
    expect(picker(page)).to_have_value("plain")
    page.wait_for_timeout(100)
    assert stage.session["model"] == "plain"


@pytest.mark.parametrize("place", ["box", "picker"])
def test_a_switch_leaves_the_focus_where_it_is(page: Page, place: str) -> None:
    held = hold(page, "session/model")
    picker(page).focus()
    picker(page).select_option("plain")
    if place == "box":
        box(page).click()
    page.keyboard.type("Dear ", delay=5)
    let_go(page, held)
    expect(page.get_by_role("status")).to_have_text("Plain answers from now on")
    page.keyboard.type("third", delay=5) if place == "box" else page.keyboard.press("ArrowUp")
    expect(box(page) if place == "box" else picker(page)).to_be_focused()
    if place == "box":
        expect(box(page)).to_have_value("Dear third")
        expect(picker(page)).to_have_value("plain")


def test_earlier_messages_take_the_focus_only_from_their_button(page: Page, stage: Stage) -> None:
    first = {"messages": stage.messages[:], "cursor": "e-0", "before": None}
    newest = {**stage.answer("/session/messages"), "before": "question-0"}
    page.route("**/session/messages", lambda route: route.fulfill(json=newest))
    held = hold(page, "session/messages?before=*")
    for taken in (True, False):
        page.reload()
        page.get_by_role("button", name="Earlier messages").click()
        if taken:
            box(page).click()
        held_one(page, held).fulfill(json=first)
        expect(page.get_by_role("button", name="Earlier messages")).to_be_hidden()
        expect(box(page) if taken else page.get_by_role("region", name="Conversation")).to_be_focused()


def test_a_form_that_is_refused_takes_the_focus_only_from_where_it_was_sent(visitor: Visitor, page: Page) -> None:
    held = hold(page, "auth/login")
    page.get_by_role("button", name="Sign in").click()
    email, password = page.locator("#email"), page.locator("#password")
    for taken in (False, True):
        email.fill("ada@example.com")
        password.fill("not the password")
        email.press("Enter")
        one = held_one(page, held)
        if taken:
            page.get_by_role("button", name="Show password").focus()
        fails(401, {"type": "/problems/login-failed"})(one)
        expect(page.get_by_text("The e-mail address or the password is wrong.")).to_be_visible()
        expect(page.get_by_role("button", name="Show password") if taken else password).to_be_focused()
    visitor.complaints.clear()


def test_a_page_that_has_loaded_takes_the_focus_from_nobody(page: Page) -> None:
    held = hold(page, "session/current", times=1)
    page.reload()
    expect(picker(page)).to_be_enabled()
    picker(page).focus()
    let_go(page, held)
    expect(answers(page)).to_have_count(1)
    page.wait_for_timeout(100)
    expect(picker(page)).to_be_focused()
