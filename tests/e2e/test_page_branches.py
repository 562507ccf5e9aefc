"""Answers again and gone on with, edited questions, those that wait, and an answer that is handed over: in a real
browser, against the real system, over a model server of the tests."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event as Flag

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e import test_page, test_page_in_trouble
from tests.e2e.system import System, running
from tests.e2e.test_accounts_page import expect_empty, register, rows
from tests.e2e.test_page import Visit, answers, ask, box, expect_answered, expect_same_as_server, questions
from tests.e2e.test_page_in_trouble import TABLE, choose, shown, under
from tests.e2e.test_page_settings import expect_accessible
from tests.support.provider import ANSWER, Handler, ProviderServer

visit = test_page.visit
go_on = test_page_in_trouble.go_on

MODELS = {
    "good": ("Good", "good"),
    "other": ("Other", "other"),
    "patient": ("Patient", "paused"),
    "short": ("Short", "short"),
}
OTHER = "Quite another answer."


def _other(handler: Handler) -> None:
    handler.begin()
    handler.chunk(OTHER)
    handler.conclude()


def _short(handler: Handler) -> None:
    """The first half ends by its length, what is gone on with does not."""
    goes_on = handler.owner.requests[-1]["messages"][-1]["role"] == "assistant"
    handler.begin()
    handler.chunk(" an hour." if goes_on else "Half")
    handler.conclude("stop" if goes_on else "length")


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderServer]:
    """A model server of this module's own: one flag holds all its paused answers."""
    server = ProviderServer({"other": _other, "short": _short})
    yield server
    server.stop()


@pytest.fixture(scope="module")
def system(provider: ProviderServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One system for these tests."""
    directory: Path = tmp_path_factory.mktemp("branches")
    tables = [
        TABLE.format(name=name, label=label, manner=manner, url=provider.url, more="prefill = true\nmax_tokens = 100")
        for name, (label, manner) in MODELS.items()
    ]
    models = directory / "models.toml"
    models.write_text("\n".join(['default = "good"', *tables]))
    options = {"SWITCHBOARD_MODELS": str(models), "SWITCHBOARD_LIMIT_MESSAGES_ANONYMOUS": "off"}
    with running(directory / "state", **options) as started:
        yield started


def waiting(page: Page) -> Locator:
    return page.get_by_role("list", name="Waiting questions").get_by_role("listitem")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def edit(page: Page, old: str, new: str) -> None:
    """Write the question anew, in its place."""
    questions(page).filter(has_text=old).hover()
    questions(page).filter(has_text=old).get_by_role("button", name="Edit").click()
    rewrite(page, old, new)


def rewrite(page: Page, old: str, new: str) -> None:
    editor = page.get_by_role("textbox", name="Edit your question")
    expect(editor).to_be_focused()
    expect(editor).to_have_value(old)
    editor.fill(new)
    editor.press("Enter")


def test_answers_and_questions_have_others_beside_them(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    ask(page, "First?")
    expect_answered(page)
    second = visitor.tab()
    button(page, "Again, with another model").click()
    expect(button(page, "Good")).to_be_focused()
    expect_accessible(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    for tab in (page, second):
        expect(shown(tab)).to_have_text(OTHER)
        expect(under(tab)).to_have_text("Other")
        expect(answers(tab)).to_contain_text("2 of 2")
    page.get_by_role("button", name="Again:").click()
    expect(answers(page)).to_contain_text("3 of 3")
    expect(shown(page)).to_have_text(ANSWER)
    previous = button(page, "Previous version")
    previous.focus()
    for number, text in ((2, OTHER), (1, ANSWER)):
        page.keyboard.press("Enter")
        expect(answers(page)).to_contain_text(f"{number} of 3")
        expect(shown(page)).to_have_text(text)
        expect(page.get_by_role("status")).to_have_text(f"{number} of 3")
        expect(previous).to_be_focused()
    expect(previous).to_be_disabled()
    expect(answers(second)).to_contain_text("1 of 3")
    ask(page, "And then?")
    expect_answered(page, 2)

    edit(page, "First?", "Another first?")
    expect(questions(page)).to_have_count(1)
    expect_answered(page)
    expect(questions(page)).to_contain_text(["Another first?2 of 2"])
    expect_same_as_server(visitor, page)
    expect_accessible(page)
    page.keyboard.press("ArrowUp")
    rewrite(page, "Another first?", "A third?")
    expect_answered(page)
    page.reload()
    expect(questions(page)).to_contain_text(["A third?3 of 3"])
    for _ in range(2):
        questions(page).first.get_by_role("button", name="Previous version").click()
    expect(questions(page).locator(".body")).to_have_text(["First?", "And then?"])
    expect(questions(second).locator(".body")).to_have_text(["First?", "And then?"])
    expect(answers(page).first).to_contain_text("1 of 3")


def test_an_answer_that_is_too_long_goes_on_in_its_place(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    choose(page, "short")
    ask(page, "How long?")
    for _ in range(2):
        expect(under(page)).to_have_text("Short · The answer reached its length limit.")
        page.reload()
    page.get_by_role("button", name="Continue").click()
    expect(shown(page)).to_have_text("Half an hour.")
    expect(under(page)).to_have_text("Short")
    expect(page.get_by_role("button", name="Continue")).to_have_count(0)
    expect(questions(page).locator(".body")).to_have_text(["How long?"])
    expect_same_as_server(visitor, page)


def test_questions_wait_for_an_answer_and_another_model_carries_it_on(visit: Visit, go_on: Flag) -> None:
    visitor = visit()
    page = visitor.page
    choose(page, "patient")
    ask(page, "First?")
    expect(shown(page)).to_contain_text("Wait")
    for question in ("Second?", "Third?"):
        ask(page, question)
        expect(waiting(page).last).to_contain_text(question)
    expect(waiting(page).get_by_role("button", name="Take back")).to_have_count(2)
    expect(page.get_by_role("button", name="Stop the answer")).to_be_visible()
    second = visitor.tab()
    page.keyboard.press("ArrowUp")
    rewrite(page, "Third?", "Last?")
    for tab in (page, second):
        expect(waiting(tab).locator(".body")).to_have_text(["Second?", "Last?"])
    expect_accessible(page)
    waiting(page).first.get_by_role("button", name="Take back").click()
    for tab in (page, second):
        expect(waiting(tab).locator(".body")).to_have_text(["Last?"])
    expect(box(page)).to_be_focused()
    second.close()

    page.get_by_role("combobox", name="Model").select_option("other")
    expect(questions(page).locator(".body")).to_have_text(["First?", "Last?"])
    expect_answered(page, 2)
    expect(waiting(page)).to_have_count(0)
    for _ in range(2):
        expect(answers(page).locator(".answer-status")).to_have_text(["Patient, then Other", "Other"])
        page.reload()


def test_an_edited_question_takes_the_place_of_an_answer_that_is_being_written(visit: Visit, go_on: Flag) -> None:
    page = visit().page
    choose(page, "patient")
    ask(page, "Frist?")
    expect(shown(page)).to_contain_text("Wait")
    edit(page, "Frist?", "First?")
    expect(questions(page)).to_contain_text(["First?2 of 2"])
    go_on.set()
    expect_answered(page)
    questions(page).get_by_role("button", name="Previous version").click()
    for _ in range(2):
        expect(under(page)).to_have_text("Stopped · Patient")
        page.reload()


def test_the_first_answer_follows_what_was_set_before_the_first_question(
    visit: Visit, provider: ProviderServer
) -> None:
    for signed_in in (False, True):
        page = visit().page
        if signed_in:
            register(page)
        set_early(page, "Answer in verse.")
        choose(page, "other")
        ask(page, "How?")
        expect(shown(page)).to_have_text(OTHER)
        expect(under(page)).to_have_text("Other")
        asked = provider.requests[-1]
        assert (asked["messages"][0]["content"], asked["temperature"]) == ("Answer in verse.", 0.5)
        button(page, "Settings").click()
        expect(page.get_by_label("Instructions")).to_have_value("Answer in verse.")
        expect(button(page, "Export")).to_be_visible()
        page.keyboard.press("Escape")

    button(page, "New conversation").click()
    expect_empty(page)
    set_early(page, "Answer in prose.")
    rows(page).get_by_role("link", name="How?").click()
    expect_answered(page)
    button(page, "New conversation").click()
    expect_empty(page)
    ask(page, "How, then?")
    expect_answered(page)
    assert "prose" not in str(provider.requests[-1]["messages"]), "what was set is that conversation's alone"


def set_early(page: Page, instructions: str) -> None:
    """In the settings of a conversation that has not begun."""
    page.get_by_role("button", name="Settings").click()
    settings = page.get_by_role("dialog", name="Settings")
    expect(settings.get_by_label("Instructions")).to_have_value("")
    expect(settings.get_by_role("button", name="Export")).to_be_hidden()
    settings.get_by_label("Instructions").fill(instructions)
    settings.get_by_label("Temperature").fill("0.5")
    settings.get_by_role("button", name="Save").click()
    expect(settings).to_be_hidden()
    page.get_by_role("button", name="Settings").click()
    expect(settings.get_by_label("Instructions")).to_have_value(instructions)
    page.keyboard.press("Escape")


def test_an_edit_whose_question_another_tab_turns_away_from_is_not_lost(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    ask(page, "First?")
    expect_answered(page)
    edit(page, "First?", "Second?")
    expect(questions(page)).to_contain_text(["Second?2 of 2"])
    expect_answered(page)
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(box(page)).to_have_value("")
    other = visitor.tab()
    expect_answered(other)
    questions(page).hover()
    button(page, "Edit").click()
    page.keyboard.type(" And what is more, ")
    button(other, "Previous version").click()
    expect(questions(page)).to_contain_text(["First?1 of 2"])
    expect(box(page)).to_have_value("Second? And what is more, ")
    expect(box(page)).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("Your words are in the message box.")
