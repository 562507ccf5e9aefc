"""How the page tells of answers that ended before all was said: in a real browser, over a played server."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import test_page, test_page_thinking
from tests.e2e.stage import Stage
from tests.e2e.test_page import answers, ask, questions
from tests.e2e.test_page_in_trouble import shown, under
from tests.e2e.test_page_thinking import heard

visit = test_page.visit
stage = test_page_thinking.stage
page = test_page_thinking.page


def test_an_answer_that_is_too_long_can_go_on(page: Page, stage: Stage) -> None:
    told = heard(page)
    stage.begin("Tell me all.")
    stage.tell("delta", at=0, text="Half an")
    stage.end(finish_reason="length")
    for _ in range(2):
        expect(under(page)).to_have_text("Deep · The answer reached its length limit.")
        expect(answers(page).last.get_by_role("button")).to_have_text(["Copy", "Continue", "Again", ""])
        page.reload()
    told.dispose()
    page.get_by_role("button", name="Continue").click()
    expect(under(page)).to_have_text("Deep is answering")
    stage.tell("delta", at=7, text=" hour")
    expect(shown(page)).to_have_text("Half an hour")
    stage.end()
    expect(under(page)).to_have_text("Deep")
    expect(questions(page)).to_have_text(["Tell me all."])
    expect(shown(page)).to_have_text("Half an hour")
    assert stage.asked == [{"message_id": "answer-0"}]
    expect(page.get_by_role("button", name="Continue")).to_have_count(0)


@pytest.mark.parametrize("reason", ["content_filter", "refusal", "tool_calls", "other"])
def test_an_end_that_is_no_answers_can_be_tried_again(page: Page, stage: Stage, reason: str) -> None:
    stage.begin("Well?")
    stage.tell("delta", at=0, text="Half an")
    expect(shown(page)).to_have_text("Half an")
    told = heard(page)
    stage.end(finish_reason=reason)
    expect(under(page)).to_have_text(re.compile(r"\w{4}.*\.$"))
    words = under(page).text_content() or ""
    expect(page.get_by_role("status")).to_have_text(re.compile(re.escape(words.split(" · ")[-1])))
    assert len(told.json_value()) == 1
    page.reload()
    expect(under(page)).to_have_text(words)
    page.get_by_role("button", name="Try again").click()
    expect(under(page)).to_have_text("Connecting to Deep")
    expect(questions(page)).to_have_text(["Well?"])
    expect(answers(page)).to_have_count(1)
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)


def test_a_failure_reads_the_same_after_a_reload(page: Page, stage: Stage) -> None:
    stage.begin("All of it")
    problem = {
        "type": "/problems/provider-failed",
        "reason": "too-long",
        "model": "deep",
        "tokens": 9120,
        "limit": 8192,
    }
    stage.end("failed", "error", problem=problem)
    for _ in range(2):
        expect(under(page)).to_contain_text("Your message is too long for Deep: 9,120 tokens, of 8,192 at the most.")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        page.reload()
    ask(page, "Less of it")
    expect(under(page)).to_have_text("Connecting to Deep")
    stage.tell("delta", at=0, text="Fine.")
    stage.end()
    expect(under(page)).to_have_text("Deep")
    expect(answers(page).first).to_contain_text("9,120 tokens")
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
