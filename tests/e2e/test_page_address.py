"""The page's address: which conversation it names, and what back, forward, a reload and another tab make of it."""

import re

from playwright.sync_api import Page, expect

from tests.e2e import test_page
from tests.e2e.test_accounts_page import expect_empty, register, rows, titles
from tests.e2e.test_page import Visit, answers, ask, box, expect_answered, questions

visit = test_page.visit

HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
RECORD = """() => {
  window.told = [];
  window.Notification = class extends Notification {
    constructor(title, options) {
      super(title, options);
      told.push([title, options.body]);
    }
  };
}"""


def expect_missing(page: Page) -> None:
    expect(page.get_by_role("heading", name="There is no such conversation here.")).to_be_visible()
    expect(box(page)).to_be_hidden()
    expect(questions(page)).to_have_count(0)


def test_a_users_conversations_have_addresses(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    register(page)
    expect(page).to_have_title("Switchboard")
    ask(page, "Say one.")
    expect_answered(page)
    first = visitor.get("/session/current")["session_id"]
    expect(page).to_have_url(f"{visitor.base_url}/c/{first}")
    expect(page).to_have_title("Say one. · Switchboard")

    page.get_by_role("button", name="New conversation").click()
    expect_empty(page)
    expect(page).to_have_url(f"{visitor.base_url}/")
    page.reload()
    expect_empty(page)
    ask(page, "Say two.")
    expect_answered(page)
    second = visitor.get("/session/current")["session_id"]
    assert second != first
    rows(page).get_by_role("link", name="Say one.").click()
    expect(questions(page)).to_have_text(["Say one."])
    expect(page).to_have_title("Say one. · Switchboard")

    page.go_back()
    expect(questions(page)).to_have_text(["Say two."])
    page.go_back()
    expect(questions(page)).to_have_text(["Say one."])
    page.go_forward()
    expect(questions(page)).to_have_text(["Say two."])
    page.reload()  # although the cookie names the other one
    expect(questions(page)).to_have_text(["Say two."])
    with visitor.context.expect_page() as opened:
        rows(page).get_by_role("link", name="Say one.").click(button="middle")
    expect(questions(opened.value)).to_have_text(["Say one."])
    ask(opened.value, "Again?")
    expect_answered(opened.value, 2)
    expect(questions(page)).to_have_text(["Say two."])
    expect(titles(page)).to_have_count(2)

    stranger = visit()
    stranger.page.goto(f"{visitor.base_url}/c/{first}")
    expect_missing(stranger.page)
    register(stranger.page)  # another account's conversation is as unknown as one that never was
    expect_missing(stranger.page)
    assert all("403" in complaint for complaint in stranger.complaints)
    stranger.complaints.clear()
    stranger.page.get_by_role("button", name="Start a new conversation").click()
    expect_empty(stranger.page)
    stranger.page.goto(f"{visitor.base_url}/c/not-an-id%00'")
    expect_missing(stranger.page)
    assert stranger.complaints == [], "the server is not asked for what can't be one"


def test_a_guests_conversation_has_an_address_until_it_is_deleted(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    ask(page, "Say hello.")
    expect_answered(page)
    session_id = visitor.get("/session/current")["session_id"]
    expect(page).to_have_url(f"{visitor.base_url}/c/{session_id}")
    second = visitor.tab()  # at the root: a guest has only one
    expect(second).to_have_url(f"{visitor.base_url}/c/{session_id}")
    expect(questions(second)).to_have_text(["Say hello."])
    second.close()

    page.get_by_role("button", name="New conversation").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect_empty(page)
    expect(page).to_have_url(f"{visitor.base_url}/")
    page.go_back()
    expect_missing(page)
    page.reload()
    expect_missing(page)


def test_the_title_and_the_icon_tell_of_an_answer_that_ended_out_of_sight(visit: Visit) -> None:
    page = visit(permissions=["notifications"]).page
    page.evaluate(RECORD)
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Notify me").check()
    page.keyboard.press("Escape")
    ask(page, "Say hello.")
    page.evaluate(HIDE, True)
    expect_answered(page)
    assert page.evaluate("told") == [["Answer ready", "Say hello."]]
    expect(page).to_have_title("● Answer ready · Say hello. · Switchboard")
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile("logo-ready"))
    page.evaluate(HIDE, False)
    expect(page).to_have_title("Say hello. · Switchboard")
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile(r"logo\.svg"))
    ask(page, "And again.")
    expect_answered(page, 2)
    expect(page).to_have_title("Say hello. · Switchboard")
    expect(answers(page)).to_have_count(2)
    assert len(page.evaluate("told")) == 1, "what can be seen needs no notification"
