"""Signing in, and what one's account holds, on the page in a real browser against the real system."""

import itertools
import re
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.e2e import test_page
from tests.e2e.system import System
from tests.e2e.test_page import (
    Visit,
    Visitor,
    answers,
    ask,
    box,
    expect_answered,
    expect_same_as_server,
    fails,
    focused,
    questions,
    tab_to,
)

PASSWORD = "seven green bottles"
_numbers = itertools.count(1)

visit = test_page.visit


def new_address() -> str:
    return f"caller{next(_numbers)}@example.com"


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog")


def sign_in_button(page: Page) -> Locator:
    return page.get_by_role("banner").get_by_role("button", name="Sign in")


def account_button(page: Page, email: str) -> Locator:
    return page.get_by_role("button", name=f"Account: {email}")


def fill_in(page: Page, email: str, password: str = PASSWORD) -> None:
    dialog(page).get_by_label("E-mail address").fill(email)
    dialog(page).get_by_label("Password", exact=True).fill(password)
    page.keyboard.press("Enter")


def register(page: Page, email: str | None = None) -> str:
    """Create an account on the page; returns its address."""
    email = email or new_address()
    sign_in_button(page).click()
    dialog(page).get_by_role("button", name="Create an account").click()
    fill_in(page, email)
    expect(account_button(page, email)).to_be_visible()
    expect(dialog(page)).to_be_hidden()
    return email


def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    sign_in_button(page).click()
    fill_in(page, email, password)
    expect(account_button(page, email)).to_be_visible()


def choose(page: Page, email: str, item: str) -> None:
    account_button(page, email).click()
    page.get_by_role("button", name=item).click()


def rows(page: Page) -> Locator:
    return page.get_by_role("complementary", name="Your conversations").get_by_role("listitem")


def titles(page: Page) -> Locator:
    return rows(page).locator(".name")


def row_button(page: Page, title: str, name: str) -> Locator:
    """A tool of one row, which shows itself to a pointer over the row."""
    rows(page).filter(has_text=title).hover()
    return page.get_by_role("button", name=f"{name} “{title}”")


def expect_empty(page: Page) -> None:
    expect(page.get_by_role("heading", name="Number, please.")).to_be_visible()
    expect(questions(page)).to_have_count(0)


def expect_anonymous(page: Page) -> None:
    expect(sign_in_button(page)).to_be_visible()
    expect(page.get_by_role("button", name="Account: ")).to_be_hidden()
    expect(page.get_by_role("complementary", name="Your conversations")).to_be_hidden()


def test_somebody_new_registers_and_is_known_from_then_on(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    expect_anonymous(page)
    email = register(page)
    expect(page.get_by_role("status")).to_have_text(f"Signed in as {email}")
    expect(box(page)).to_be_focused()
    assert visitor.get("/auth/me")["email"] == email
    page.reload()
    expect(account_button(page, email)).to_be_visible()

    ask(page, "Say hello.")
    expect_answered(page)
    expect(titles(page)).to_have_text(["Say hello."])
    assert visitor.get("/session/current")["anonymous"] is False
    page.reload()
    expect(questions(page)).to_have_text(["Say hello."])
    expect_same_as_server(visitor, page)


def test_a_claimed_conversation_goes_on_and_its_old_secret_is_dead(visit: Visit, system: System) -> None:
    visitor = visit()
    page = visitor.page
    ask(page, "Say hello.")
    expect_answered(page)
    (cookie,) = visitor.context.cookies()
    before = visitor.get("/session/current")
    box(page).fill("Not sent yet")

    register(page)
    question = page.get_by_role("group", name="Keep this conversation in your account?")
    expect(question.get_by_role("button", name="Keep")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Kept in your account")
    expect(question).to_be_hidden()
    expect(rows(page)).to_have_count(1)
    expect(rows(page).get_by_role("link").first).to_have_attribute("aria-current", "page")
    expect(questions(page)).to_have_text(["Say hello."])
    expect(answers(page)).to_have_count(1)
    expect(box(page)).to_have_value("Not sent yet")
    after = visitor.get("/session/current")
    assert (after["session_id"], after["anonymous"]) == (before["session_id"], False)

    old = httpx2.get(f"{system.base_url}/session/messages", cookies={"switchboard": cookie["value"]}, trust_env=False)
    assert old.status_code in (401, 403)

    box(page).press("Enter")
    expect_answered(page, 2)
    expect_same_as_server(visitor, page)


def test_an_answer_is_written_to_its_end_before_it_is_kept(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    held: list[Route] = []
    # Without its events, the page knows of no end of the answer.
    page.route("**/chat/sse*", lambda route: held.append(route))
    ask(page, "Say hello.")
    expect(answers(page).last).to_have_attribute("data-state", "streaming")
    register(page)
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.get_by_role("status")).not_to_have_text("Kept in your account")
    held.pop().continue_()
    expect_answered(page)
    expect(page.get_by_role("status")).to_have_text("Kept in your account")
    expect_same_as_server(visitor, page)
    expect(page.get_by_role("group", name="Keep this conversation in your account?")).to_be_hidden()
    assert visitor.get("/session/current")["anonymous"] is False


def test_what_is_not_kept_stays_anonymous_and_is_asked_about_once(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    ask(page, "Say hello.")
    expect_answered(page)
    email = register(page)
    page.get_by_role("button", name="Not now").click()
    expect(box(page)).to_be_focused()
    page.reload()
    expect(account_button(page, email)).to_be_visible()
    expect(questions(page)).to_have_text(["Say hello."])
    expect(page.get_by_role("group", name="Keep this conversation")).to_be_hidden()
    assert visitor.get("/session/current")["anonymous"] is True
    assert visitor.get("/sessions")["sessions"] == []


def test_conversations_are_opened_renamed_and_deleted(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    register(page)
    ask(page, "Say one.")
    expect_answered(page)
    page.get_by_role("button", name="New conversation").click()
    expect_empty(page)
    expect(page.locator("#confirm")).to_be_hidden()
    ask(page, "Say two.")
    expect_answered(page)
    expect(titles(page)).to_have_text(["Say two.", "Say one."])

    titles(page).nth(1).click()
    expect(questions(page)).to_have_text(["Say one."])
    expect(page.locator("#sessions [aria-current=page] .name")).to_have_text("Say one.")
    expect_same_as_server(visitor, page)
    page.reload()
    expect(questions(page)).to_have_text(["Say one."])

    row_button(page, "Say one.", "Rename").click()
    field = page.get_by_role("textbox", name="Title")
    expect(field).to_be_focused()
    page.keyboard.type("Given up")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Rename “Say one.”")).to_be_focused()
    page.keyboard.press("Enter")
    page.route("**/session", fails(422, {"detail": "No."}), times=1)
    field.fill("Refused")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    visitor.complaints.clear()
    row_button(page, "Say one.", "Rename").click()
    field.fill("The\tfirst\u202e")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(titles(page)).to_have_text(["Say two.", "The first"])
    expect(page.get_by_role("button", name="Rename “The first”")).to_be_focused()
    assert [told["title"] for told in visitor.get("/sessions")["sessions"]] == ["Say two.", "The first"]

    row_button(page, "Say two.", "Delete").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(titles(page)).to_have_text(["Say two.", "The first"])
    row_button(page, "Say two.", "Delete").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(rows(page)).to_have_count(1)
    expect(titles(page)).to_have_text(["The first"])
    expect(questions(page)).to_have_text(["Say one."])
    page.reload()
    expect(questions(page)).to_have_text(["Say one."])

    row_button(page, "The first", "Delete").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect_empty(page)
    expect(titles(page)).to_have_count(0)
    assert visitor.get("/sessions")["sessions"] == []


def test_two_tabs_show_two_conversations(visit: Visit) -> None:
    visitor = visit()
    first = visitor.page
    register(first)
    ask(first, "Say one.")
    expect_answered(first)
    second = visitor.tab()
    expect_empty(second)
    ask(second, "Say two.")
    expect_answered(second)

    ask(first, "And again?")  # although the browser's cookie now names the other one
    expect_answered(first, 2)
    expect(questions(first)).to_have_text(["Say one.", "And again?"])
    expect(questions(second)).to_have_text(["Say two."])
    expect_answered(second)


def test_older_conversations_are_a_page_away(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    register(page)
    for _ in range(31):
        assert visitor.context.request.post(visitor.base_url + "/session/create", data={}).status == 201
    page.reload()
    expect(rows(page)).to_have_count(30)
    expect(titles(page).first).to_have_text("New conversation")
    page.get_by_role("button", name="Show older").click()
    expect(rows(page)).to_have_count(31)
    expect(page.get_by_role("button", name="Show older")).to_be_hidden()


def test_signing_out_leaves_nothing_on_any_tab(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    email = register(page)
    ask(page, "Say hello.")
    expect_answered(page)
    other = visitor.tab()
    other.goto(page.url)
    expect(questions(other)).to_have_text(["Say hello."])
    box(other).fill("Still typing")
    box(page).fill("For nobody else")

    choose(page, email, "Sign out")
    for tab in (page, other):
        expect_anonymous(tab)
        expect_empty(tab)
        expect(box(tab)).to_have_value("")
    expect(other.get_by_role("alert")).to_contain_text("signed out")
    visitor.complaints.clear()  # the other tab may have asked whether it is still signed in
    left = [cookie.get("name") for cookie in visitor.context.cookies()]
    assert left == ["switchboard_device"], "which opens nothing; strangers lock nobody out of a browser that has it"
    page.reload()
    expect_anonymous(page)
    expect_empty(page)

    ask(page, "Who am I?")
    expect_answered(page)
    assert visitor.get("/session/current")["anonymous"] is True


def test_a_login_that_was_ended_elsewhere_is_told_and_keeps_the_text_for_its_user(visit: Visit) -> None:
    visitor, elsewhere = visit(), visit()
    page = visitor.page
    email = register(page)
    ask(page, "Say hello.")
    expect_answered(page)
    box(page).fill("Are you still there?")
    idle = visitor.tab()
    expect(account_button(idle, email)).to_be_visible()
    sign_in(elsewhere.page, email)
    choose(elsewhere.page, email, "Where you")
    logins = dialog(elsewhere.page).get_by_role("listitem")
    expect(logins).to_have_count(2)
    expect(logins.first).to_contain_text("This browser")
    logins.last.get_by_role("button", name="Sign out").click()
    expect(logins).to_have_count(1)

    # At once: the stream has ended with the login.
    expect(page.get_by_role("alert")).to_have_text("You have been signed out.")
    expect_anonymous(page)
    expect_empty(page)
    expect(box(page)).to_have_value("")
    expect_anonymous(idle)
    visitor.complaints.clear()  # the browser itself notes the 401

    ask(page, "Who am I?")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect_answered(page)
    assert visitor.get("/session/current")["anonymous"] is True
    visitor.complaints.clear()  # and that the cookie's session is not an anonymous visitor's
    sign_in(page, email)
    expect(box(page)).to_have_value("Are you still there?")


def test_a_wrong_password_is_told_beside_it_and_costs_nothing(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    box(page).fill("Half a thought")
    sign_in_button(page).click()
    page.get_by_role("button", name="Sign in").and_(page.locator("[type=submit]")).click()
    email = dialog(page).get_by_label("E-mail address")
    expect(email).to_be_focused()
    expect(email).to_have_accessible_description("Enter your e-mail address.")

    fill_in(page, new_address(), "not this one")
    password = dialog(page).get_by_label("Password", exact=True)
    expect(password).to_have_accessible_description("The e-mail address or the password is wrong.")
    expect(password).to_have_attribute("aria-invalid", "true")
    expect(password).to_be_focused()
    visitor.complaints.clear()

    page.get_by_role("button", name="Show password").click()
    expect(password).to_have_attribute("type", "text")
    page.keyboard.press("Escape")
    expect(dialog(page)).to_be_hidden()
    expect(sign_in_button(page)).to_be_focused()
    expect(box(page)).to_have_value("Half a thought")

    page.keyboard.press("Enter")
    expect(password).to_have_value("")
    expect(password).to_have_attribute("type", "password")
    expect(password).to_have_attribute("autocomplete", "current-password")
    expect(password).not_to_have_attribute("aria-invalid", "true")


def test_what_an_account_cant_be_made_of_is_told_beside_the_field(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    taken = register(page)
    choose(page, taken, "Sign out")
    sign_in_button(page).click()
    dialog(page).get_by_role("button", name="Create an account").click()
    email, password = dialog(page).get_by_label("E-mail address"), dialog(page).get_by_label("Password", exact=True)
    expect(password).to_have_attribute("autocomplete", "new-password")

    for field, address, secret, words in (
        (password, new_address(), "short", "5 of at least 8"),
        (password, new_address(), "password1", "most common"),
        (email, "nowhere", PASSWORD, "@"),
        (email, taken, PASSWORD, "has an account already"),
    ):
        fill_in(page, address, secret)
        expect(field).to_have_accessible_description(re.compile(words))
        expect(field).to_be_focused()
    assert len(visitor.complaints) == 3, "the browser notes what the server refused; the first was not sent"
    visitor.complaints.clear()

    dialog(page).get_by_role("button", name="Sign in").and_(page.locator("[type=button]")).click()
    expect(email).to_have_value(taken)
    fill_in(page, taken)
    expect(account_button(page, taken)).to_be_visible()


def test_too_many_attempts_say_when_to_try_again(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    page.route("**/auth/login", fails(429, {"type": "/problems/rate-limited"}, Retry_After="120"))
    sign_in_button(page).click()
    fill_in(page, new_address())
    expect(dialog(page).get_by_role("alert")).to_have_text("Too many attempts. Try again in 2 min.")
    visitor.complaints.clear()


def test_nobody_sees_what_another_has(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    first = register(page)
    ask(page, "Say hello.")
    expect_answered(page)
    theirs = visitor.get("/session/current")["session_id"]
    choose(page, first, "Sign out")
    expect_anonymous(page)

    second = register(page)
    expect_empty(page)
    expect(page.get_by_text("What you ask while")).to_be_visible()
    expect(rows(page)).to_have_count(0)
    opened = visitor.context.request.post(visitor.base_url + "/session/open", data={"session_id": theirs})
    assert opened.status == 403
    page.reload()
    expect_empty(page)

    choose(page, second, "Sign out")
    sign_in(page, first)
    expect_empty(page)
    titles(page).first.click()
    expect(questions(page)).to_have_text(["Say hello."])


def test_signing_in_and_out_needs_no_pointer(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    email = register(page)
    choose(page, email, "Sign out")
    expect(box(page)).to_be_focused()

    tab_to(page, "sign-in-open", "Shift+Tab")
    page.keyboard.press("Enter")
    tab_to(page, "email")
    page.keyboard.type(email)
    tab_to(page, "password")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(account_button(page, email)).to_be_visible()
    expect(box(page)).to_be_focused()

    tab_to(page, "account-open", "Shift+Tab")
    page.keyboard.press("Enter")
    tab_to(page, "menu-password")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Change password")).to_be_hidden()
    assert focused(page) == "account-open"
    page.keyboard.press("Enter")
    tab_to(page, "menu-password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Change password")).to_be_visible()
    page.keyboard.press("Escape")
    expect(account_button(page, email)).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, "menu-sign-out")
    page.keyboard.press("Enter")
    expect_anonymous(page)


def test_a_password_is_changed_and_an_account_deleted(visit: Visit) -> None:
    visitor, elsewhere = visit(), visit()
    page = visitor.page
    email = register(page)
    sign_in(elsewhere.page, email)
    ask(page, "Say hello.")
    expect_answered(page)

    choose(page, email, "Change password")
    current = dialog(page).get_by_label("Current password", exact=True)
    current.fill("not this one")
    dialog(page).get_by_label("New password", exact=True).fill("eight green bottles")
    page.keyboard.press("Enter")
    expect(current).to_have_accessible_description("This is not your current password.")
    visitor.complaints.clear()
    current.fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(dialog(page)).to_be_hidden()
    expect(page.get_by_role("status")).to_have_text("Password changed")
    ask(page, "Am I still here?")
    expect_answered(page, 2)
    expect(elsewhere.page.get_by_role("alert")).to_have_text("You have been signed out.")
    elsewhere.complaints.clear()

    choose(page, email, "Delete account")
    dialog(page).get_by_label("Password", exact=True).fill("eight green bottles")
    dialog(page).get_by_role("button", name="Delete account").click()
    expect_anonymous(page)
    expect_empty(page)
    sign_in_button(page).click()
    fill_in(page, email, "eight green bottles")
    expect(dialog(page).get_by_label("Password", exact=True)).to_have_accessible_description(re.compile("wrong"))
    visitor.complaints.clear()


def test_a_phone_has_the_list_in_a_drawer(visit: Visit) -> None:
    visitor = visit(viewport={"width": 360, "height": 640}, is_mobile=True, has_touch=True)
    page = visitor.page

    def check() -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        small = page.locator(
            "button:visible, select:visible, textarea:visible, input:visible:not(.visually-hidden)"
        ).evaluate_all(
            # A list may just have been drawn anew: what is gone has no size.
            "found => found.filter(e => e.isConnected && e.type !== 'checkbox')"
            ".filter(e => e.offsetHeight < 44 || e.offsetWidth < 44).map(e => e.outerHTML)"
        )
        assert small == [], "too small for a finger"

    check()
    sign_in_button(page).tap()
    check()
    dialog(page).get_by_role("button", name="Create an account").tap()
    check()
    email = new_address()
    fill_in(page, email)
    expect(account_button(page, email)).to_be_visible()
    check()
    box(page).fill("Say hello.")
    page.get_by_role("button", name="Send").tap()  # Enter is a newline there
    expect_answered(page)
    long = {"title": "A title that is much longer than any phone is wide, " + "and-one-word-" * 10}
    assert visitor.context.request.patch(visitor.base_url + "/session", data=long).ok

    opener = page.get_by_role("button", name="Your conversations")
    opener.tap()
    drawer = page.get_by_role("dialog", name="Your conversations")
    expect(drawer.get_by_role("listitem")).to_have_count(1)
    check()
    drawer.get_by_role("button", name="Delete “").tap()
    check()
    page.keyboard.press("Escape")
    expect(drawer.get_by_role("button", name="Rename “")).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(opener).to_be_focused()

    page.get_by_role("button", name="New conversation").tap()
    expect_empty(page)
    opener.tap()
    drawer.get_by_role("link", name=re.compile("^A title")).tap()
    expect(drawer).to_be_hidden()
    expect(questions(page)).to_have_count(1)
    for item in ("Change password", "Where you", "Delete account"):
        choose(page, email, item)
        check()
        expect(dialog(page).locator("[aria-busy=true]")).to_have_count(0)  # it grows, and its buttons move
        dialog(page).get_by_role("button", name="Close").tap()


READ = """async (chunks) => {
  const { readEvents } = await import("/static/js/stream/sse-parser.js");
  const bytes = new TextEncoder();
  const body = new ReadableStream({ start(source) {
    for (const chunk of chunks) source.enqueue(bytes.encode(chunk));
    source.close();
  } });
  const events = [];
  for await (const { type, id, data } of readEvents(body)) events.push([type, id, data]);
  return events;
}"""


@pytest.mark.parametrize(
    ("chunks", "events"),
    [
        pytest.param(["id: e-1\nevent: delta\ndata: {}\n\n"], [["delta", "e-1", "{}"]], id="whole"),
        pytest.param(["id: e", "-1\nev", "ent: a\ndata: b\n", "\n"], [["a", "e-1", "b"]], id="in pieces"),
        pytest.param([": hello\nretry: 9\n\ndata: a\n\n"], [["message", "", "a"]], id="comments are none"),
        pytest.param(["event: a\r\ndata: b\r\n\r\n"], [["a", "", "b"]], id="CRLF"),
        pytest.param(["data: a\ndata:b\ndata\n\n"], [["message", "", "a\nb\n"]], id="several lines"),
        pytest.param(["id: 1\ndata: a\n\ndata: b\n\n"], [["message", "1", "a"], ["message", "", "b"]], id="own ids"),
        pytest.param(["data: a\n\ndata: cut of"], [["message", "", "a"]], id="cut off"),
    ],
)
def test_events_are_read_from_a_body(visit: Visit, chunks: list[str], events: list[Any]) -> None:
    assert visit().page.evaluate(READ, chunks) == events


def test_visitors_without_an_account_meet_no_failing_request(visit: Visit) -> None:
    visitor: Visitor = visit()
    failed: list[str] = []
    visitor.page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    visitor.page.reload()
    expect_anonymous(visitor.page)
    expect(visitor.page.get_by_role("combobox", name="Model")).to_be_enabled()
    assert failed == []
