"""What is written and not sent yet, the keys of the message box, and small things around it."""

import re

from playwright.sync_api import expect

from tests.e2e import test_page
from tests.e2e.test_accounts_page import dialog, expect_empty, register, rows, sign_in_button
from tests.e2e.test_page import Visit, answers, ask, ask_for_a_long_answer, box, expect_answered, questions

visit = test_page.visit

CODE = "    if x:\n        y()"


def test_each_conversation_keeps_its_draft_until_it_is_nobodys(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    expect(box(page)).to_be_focused()
    page.keyboard.type("Not sent")
    page.reload()
    expect(box(page)).to_have_value("Not sent")
    sign_in_button(page).click()
    expect(dialog(page).get_by_label("E-mail address")).to_be_focused()
    page.keyboard.press("Escape")
    register(page)

    ask(page, f"\n\n{CODE}\n\n")
    expect_answered(page)
    assert visitor.get("/session/messages")["messages"][0]["text"] == CODE
    box(page).fill("For the first")
    page.get_by_role("button", name="New conversation").click()
    expect_empty(page)
    expect(box(page)).to_have_value("")
    expect(page.get_by_text("Expires in")).to_be_hidden()
    box(page).fill("For a new one")
    rows(page).get_by_role("link").click()
    expect(box(page)).to_have_value("For the first")
    page.reload()
    expect(box(page)).to_have_value("For the first")
    expect(questions(page)).to_have_count(1)
    expect(page.get_by_text("Expires in")).to_be_hidden()
    page.go_back()
    expect(box(page)).to_have_value("For a new one")
    page.get_by_role("button", name="Account: ").click()
    page.get_by_role("button", name="Sign out").click()
    expect(sign_in_button(page)).to_be_visible()
    kept = page.evaluate("Object.entries(localStorage).filter(([key]) => key.includes('draft'))")
    assert kept == []
    expect(box(page)).to_have_value("")


def test_escape_stops_an_answer_and_leaves_what_is_being_written(visit: Visit) -> None:
    page = visit().page
    expect(page.get_by_text("is a small model for demonstration")).to_be_visible()
    ask_for_a_long_answer(page)
    stop = page.get_by_role("button", name="Stop the answer")
    expect(stop).to_be_visible()
    box(page).fill("Too early")
    box(page).dispatch_event("keydown", {"key": "Escape", "isComposing": True, "bubbles": True})
    page.get_by_role("button", name="Sign in").click()
    page.keyboard.press("Escape")  # for the dialog
    expect(dialog(page)).to_be_hidden()
    expect(stop).to_be_visible()
    page.keyboard.press("Escape")
    expect(answers(page).last).to_have_attribute("data-state", "stopped")
    expect(box(page)).to_have_value("Too early")
    picker = page.get_by_role("combobox", name="Model")
    wide = picker.evaluate("node => node.offsetWidth")
    picker.select_option("smollm2")
    expect(answers(page).last).to_be_visible()
    assert picker.evaluate("node => node.offsetWidth") < wide, "as wide as the name that it shows"


def test_a_message_or_a_name_of_which_nothing_can_be_seen_is_not_sent(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    send = page.get_by_role("button", name="Send")
    for text in ("\u200b", "\u2800", "\u3164\n \u00ad\u200d"):
        box(page).fill(text)
        expect(send).to_be_disabled()
        box(page).press("Enter")
        expect(box(page)).to_have_value(text)
    expect(questions(page)).to_have_count(0)
    expect(page.get_by_text("is empty")).to_be_hidden()
    box(page).fill("\u200bWhy?")
    expect(send).to_be_enabled()
    box(page).press("Enter")
    expect_answered(page)
    page.get_by_role("button", name="Edit").last.click()
    page.locator(".inline-editor textarea").fill("\u200b")
    expect(page.locator(".inline-editor button.primary")).to_be_disabled()


def test_enter_is_a_new_line_where_the_keyboard_is_on_the_screen(visit: Visit) -> None:
    page = visit(viewport={"width": 360, "height": 640}, is_mobile=True, has_touch=True).page
    box(page).tap()
    page.keyboard.type("One")
    page.keyboard.press("Enter")
    page.keyboard.type("two")
    expect(box(page)).to_have_value("One\ntwo")
    expect(box(page)).to_have_accessible_description(re.compile("Enter starts a new line"))
    page.get_by_role("button", name="Send").tap()
    expect(questions(page)).to_have_text(["One\ntwo"])
    expect_answered(page)


def test_the_page_speaks_german_where_the_browser_does(visit: Visit) -> None:
    page = visit(locale="de-CH").page
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.get_by_role("heading", name="Nummer, bitte.")).to_be_visible()
    page.get_by_role("textbox", name="Deine Nachricht").fill("x" * 33_000)
    expect(page.locator("#count")).to_have_text("232 Byte zu lang")
    page.get_by_role("textbox", name="Deine Nachricht").fill("Sag hallo.")
    page.get_by_role("button", name="Senden").click()
    expect(page.get_by_role("article", name="Antwort")).to_have_attribute("data-state", "complete")
    expect(page.get_by_text(re.compile(r"Läuft ab in \d+ Min\."))).to_be_visible()
