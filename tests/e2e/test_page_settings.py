"""Settings and shortcuts, and axe over every view in both themes."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import test_page
from tests.e2e.test_accounts_page import dialog, expect_empty, register
from tests.e2e.test_page import Visit, ask, expect_answered, focused

visit = test_page.visit

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => [id, nodes.map(({ html }) => html.slice(0, 120))]);
}"""


def expect_accessible(page: Page) -> None:
    """Nothing serious is found by axe on what the page shows."""
    if not AXE.exists():
        pytest.skip("axe-core is not in node_modules (make lint installs it)")
    page.evaluate(AXE.read_text())
    assert page.evaluate(SERIOUS) == []


def test_settings_are_kept_and_heeded(visit: Visit) -> None:
    visitor = visit(locale="en-GB")
    page = visitor.page
    register(page)
    ask(page, "Say hello.")
    expect_answered(page)
    expect_accessible(page)

    page.keyboard.press("Control+Comma")
    settings = page.get_by_role("dialog", name="Settings")
    expect(settings.get_by_label("Theme")).to_be_focused()
    settings.get_by_label("Theme").select_option("dark")
    settings.get_by_label("Instructions").fill("长" * 5000)
    settings.get_by_role("button", name="Save").click()
    expect(settings.get_by_role("alert")).to_have_text("6.8 kB too long")
    settings.get_by_label("Instructions").fill("Answer in verse.")
    expect(settings.get_by_role("alert")).to_be_hidden()
    settings.get_by_label("Temperature").fill("2.5")
    settings.get_by_role("button", name="Save").click()
    expect(settings.get_by_role("alert")).to_have_text("A number from 0 to 2, or nothing.")
    expect(settings.get_by_label("Temperature")).to_be_focused()
    settings.get_by_label("Temperature").fill("0.35")
    expect_accessible(page)
    settings.get_by_label("Name of a new key").fill("Laptop")
    settings.get_by_role("button", name="Create").click()
    key = settings.get_by_label("Copy this key now")
    expect(key).to_be_focused()
    shown = visitor.context.request.get(
        visitor.base_url + "/auth/me", headers={"Authorization": f"Bearer {key.input_value()}"}
    )
    assert shown.ok
    settings.get_by_role("button", name="Revoke the key “Laptop”").click()
    expect(settings.get_by_role("listitem")).to_have_count(0)
    expect(key).to_be_hidden()
    with page.expect_download() as export:
        settings.get_by_role("button", name="Export").click()
    assert "Say hello." in json.dumps(json.loads(Path(export.value.path()).read_text()))
    settings.get_by_role("button", name="Save").click()
    expect(settings).to_be_hidden()
    told = visitor.get("/session/current")
    assert (told["system_prompt"], told["temperature"]) == ("Answer in verse.", 0.35)

    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 22, 20)"
    expect_answered(page)
    expect_accessible(page)
    page.get_by_role("button", name="Settings").click()
    expect(settings.get_by_label("Instructions")).to_have_value("Answer in verse.")
    settings.get_by_label("Language").select_option("de")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    page.get_by_role("button", name="Einstellungen").click()
    page.get_by_label("Sprache").select_option("")
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_shortcuts_and_the_help_sheet(visit: Visit) -> None:
    page = visit().page
    page.locator("#scroller").focus()
    page.keyboard.press("?")
    expect(dialog(page)).to_contain_text("Keyboard shortcuts")
    expect_accessible(page)
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert focused(page) == "message"
    page.keyboard.type("What? /")
    expect(page.get_by_role("textbox", name="Your message")).to_have_value("What? /")

    register(page)
    ask(page, "Say one.")
    expect_answered(page)
    page.keyboard.press("Control+Shift+O")
    expect_empty(page)
    page.keyboard.press("Control+Shift+K")
    assert focused(page) == "search"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_views_of_a_guest_are_accessible(visit: Visit, scheme: str) -> None:
    visitor = visit(color_scheme=scheme)
    page = visitor.page
    expect(page.get_by_role("combobox", name="Model")).to_be_enabled()
    expect_accessible(page)
    page.get_by_role("button", name="Sign in").click()
    expect_accessible(page)
    page.goto(f"{visitor.base_url}/c/nothing")
    expect(page.get_by_role("heading", name="There is no such conversation here.")).to_be_visible()
    expect_accessible(page)


LINES = """button => {
  const words = document.createRange();
  words.selectNodeContents(button);
  return new Set([...words.getClientRects()].map(({ top }) => top)).size;
}"""
OUTSIDE = """dialog => {
  const edge = dialog.getBoundingClientRect().right - parseFloat(getComputedStyle(dialog).paddingRight);
  return [...dialog.querySelectorAll("select, input, button:not([data-close])")]
    .filter((each) => each.getBoundingClientRect().right > edge + 1).map(({ id }) => id);
}"""


def test_settings_on_a_small_screen(visit: Visit) -> None:
    page = visit(viewport={"width": 390, "height": 844}).page
    register(page)
    page.get_by_role("button", name="Settings").click()
    with page.expect_navigation():
        page.get_by_label("Language").select_option("zh")
    page.get_by_role("button", name="设置").click()
    make = page.locator("#new-key button")
    expect(make).to_have_text("创建")
    assert make.evaluate(LINES) == 1
    page.set_viewport_size({"width": 320, "height": 200})  # 400 % of 1280x800
    for language in ("de", "en"):
        with page.expect_navigation():
            page.locator("#language").select_option(language)
        page.locator("#settings-open").click()
        assert page.locator("#settings").evaluate(OUTSIDE) == []
