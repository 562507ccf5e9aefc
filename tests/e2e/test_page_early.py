"""Who asks before the page knows which conversation this is: in a real browser, over a played server."""

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import test_page, test_page_choice, test_page_thinking
from tests.e2e.stage import Stage
from tests.e2e.test_page import Visitor, ask, fails, questions
from tests.e2e.test_page_choice import held_one, hold, let_go, picker
from tests.e2e.test_page_in_trouble import under

visit = test_page.visit
stage = test_page_thinking.stage
visitor = test_page_choice.visitor
page = test_page_choice.page


@pytest.mark.parametrize("chosen", ["plain", None])
def test_an_early_question_goes_on_with_the_conversation(page: Page, stage: Stage, chosen: str | None) -> None:
    stage.switch("third")
    held = hold(page, "session/current", times=1)
    page.reload()
    expect(picker(page)).to_be_enabled()
    if chosen:
        picker(page).select_option(chosen)
    ask(page, "Second?")
    page.wait_for_timeout(100)
    assert stage.asked == []
    let_go(page, held)
    label = "Plain" if chosen else "Third"
    expect(under(page)).to_have_text(f"Connecting to {label}")
    expect(picker(page)).to_have_value(chosen or "third")
    assert len(stage.asked) == 1


def test_an_early_question_to_a_conversation_that_is_over_begins_another(
    visitor: Visitor, page: Page, stage: Stage
) -> None:
    held = [hold(page, path, times=1) for path in ("session/current", "session/messages")]
    page.reload()
    expect(picker(page)).to_be_enabled()
    picker(page).select_option("plain")
    ask(page, "Second?")
    expect(questions(page)).to_have_text(["Second?"])
    for each in held:
        fails(401, {"type": "/problems/session-expired"})(held_one(page, each))
    expect(under(page)).to_have_text("Connecting to Plain")
    assert stage.asked == [{"message": "Second?", "while_busy": "queue", "model": "plain"}]
    visitor.complaints.clear()


def test_a_break_makes_no_choice(visitor: Visitor, page: Page, stage: Stage) -> None:
    """What the picker shows before the conversation is known is nobody's wish."""
    stage.switch("third")
    held = hold(page, "session/current", times=1)
    page.reload()
    expect(picker(page)).to_be_enabled()
    ask(page, "Second?")
    held_one(page, held).abort()
    expect(under(page)).to_have_text("Connecting to Third")
    assert stage.asked == [{"message": "Second?", "while_busy": "queue"}]
    visitor.complaints.clear()
