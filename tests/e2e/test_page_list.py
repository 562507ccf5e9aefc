"""The list of a user's conversations: what happens in any of them shows at once, and a search finds their words."""

from threading import Event as Flag

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e import test_page, test_page_branches, test_page_in_trouble
from tests.e2e.system import System
from tests.e2e.test_accounts_page import dialog, expect_empty, register, row_button, rows, titles
from tests.e2e.test_page import Visit, Visitor, ask, expect_answered
from tests.e2e.test_page_branches import OTHER
from tests.e2e.test_page_in_trouble import choose
from tests.e2e.test_page_settings import expect_accessible

provider = test_page_branches.provider
system = test_page_branches.system
visit = test_page.visit
go_on = test_page_in_trouble.go_on


@pytest.fixture
def visitor(visit: Visit, system: System) -> Visitor:
    """A user with two conversations, the second one on screen."""
    visitor = visit()
    page = visitor.page
    register(page)
    ask(page, "First?")
    expect_answered(page)
    page.get_by_role("button", name="New conversation").click()
    expect_empty(page)
    page.get_by_role("combobox", name="Model").select_option("other")
    ask(page, "Second?")
    expect_answered(page)
    expect(titles(page)).to_have_text(["Second?", "First?"])
    return visitor


def mark(page: Page, title: str) -> Locator:
    return rows(page).filter(has_text=title).locator(".mark")


def fills(page: Page, title: str) -> list[str]:
    """What the conversation's mark is filled with, in the page's colours and in few of the reader's own."""
    found = []
    for forced in ("none", "active"):
        page.emulate_media(forced_colors=forced)
        found.append(mark(page, title).evaluate("mark => getComputedStyle(mark).backgroundColor"))
    page.emulate_media(forced_colors="none")
    return found


def test_what_happens_elsewhere_shows_at_once(visitor: Visitor, go_on: Flag) -> None:
    page = visitor.page
    expect(page.get_by_role("heading", name="Today")).to_be_visible()
    elsewhere = visitor.tab()
    rows(elsewhere).get_by_role("link", name="First?").click()
    expect_answered(elsewhere)
    choose(elsewhere, "patient")
    ask(elsewhere, "And then?")
    expect(titles(page)).to_have_text(["First?", "Second?"])
    expect(mark(page, "First?")).to_have_text("An answer is being written")
    answering = fills(page, "First?")
    elsewhere.get_by_role("button", name="New conversation").click()
    expect_empty(elsewhere)
    go_on.set()
    expect(mark(page, "First?")).to_have_text("There is a new answer")
    new = fills(page, "First?")
    assert answering[0] == "rgba(0, 0, 0, 0)" != new[0], "by its shape, not its hue alone"
    assert answering[1] != new[1]
    expect_accessible(page)
    rows(page).get_by_role("link", name="First?").click()
    expect_answered(page, 2)
    for tab in (page, elsewhere):
        expect(mark(tab, "First?")).to_have_count(0)

    row_button(elsewhere, "Second?", "Rename").click()
    elsewhere.keyboard.type("The other")
    elsewhere.keyboard.press("Enter")
    expect(titles(page)).to_have_text(["First?", "The other"])
    row_button(elsewhere, "The other", "Delete").click()
    elsewhere.get_by_role("button", name="Delete", exact=True).click()
    expect(titles(page)).to_have_text(["First?"])


def test_a_search_finds_words_of_the_users_own(visit: Visit, visitor: Visitor) -> None:
    page = visitor.page
    search = page.get_by_role("searchbox", name="Search conversations")
    search.fill("anoth")
    expect(titles(page)).to_have_text(["Second?"])
    expect(rows(page).locator(".snippet")).to_have_text(OTHER)
    expect(rows(page).locator("mark")).to_have_text("another")
    expect_accessible(page)
    search.press_sequentially("ing")
    expect(page.get_by_text("Nothing has this.")).to_be_visible()
    expect(rows(page)).to_have_count(0)
    search.fill("FIRST")
    rows(page).get_by_role("link", name="First?").click()
    expect_answered(page)
    search.fill("")
    expect(titles(page)).to_have_count(2)

    stranger = visit().page
    register(stranger)
    expect(dialog(stranger)).to_be_hidden()
    ask(stranger, "Hello?")
    expect_answered(stranger)
    stranger.get_by_role("searchbox").fill("another")
    expect(stranger.get_by_text("Nothing has this.")).to_be_visible()


@pytest.mark.parametrize("language", ["en", "de", "zh"])
def test_the_hint_in_the_search_fits_there(visit: Visit, language: str) -> None:
    page = visit(locale=language).page
    room = page.locator("#search").evaluate(
        """field => {
          document.body.replaceChildren(field);
          field.hidden = false;
          field.style.cssText = "width: 12rem; box-sizing: border-box";
          const { font, paddingLeft, paddingRight } = getComputedStyle(field);
          const pen = document.createElement("canvas").getContext("2d");
          pen.font = font;
          const inside = field.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
          return inside - pen.measureText(field.placeholder).width;
        }"""
    )
    assert room > 40, "beside the button that empties it"
