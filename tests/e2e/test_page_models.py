"""Models that rest and are well again, on the page: in a real browser, over a played server."""

from typing import Any

import pytest
from playwright.sync_api import JSHandle, Locator, Page, expect

from tests.e2e import test_page, test_page_thinking
from tests.e2e.stage import MODEL, OTHER, Stage
from tests.e2e.test_page import Visit, box
from tests.e2e.test_page_in_trouble import under

visit = test_page.visit
stage = test_page_thinking.stage
page = test_page_thinking.page


def rests(model: dict[str, Any]) -> dict[str, Any]:
    return {**model, "available": False}


@pytest.fixture
def clocked(visit: Visit, stage: Stage) -> Page:
    """A page whose time a test can turn."""
    page = visit().page
    page.clock.install()
    stage.play(page)
    expect(page.get_by_role("combobox", name="Model")).to_be_enabled()
    expect(box(page)).to_be_focused()  # now it is loaded
    return page


def option(page: Page, name: str) -> Locator:
    return page.locator(f"#model option[value={name}]")


def looks(page: Page) -> JSHandle:
    """How often the page asks for the models from now on."""
    return page.evaluate_handle(
        """() => {
          const asked = { count: 0 };
          const { fetch } = window;
          window.fetch = (path, options) => {
            if (path === "/config/models") asked.count++;
            return fetch(path, options);
          };
          return asked;
        }"""
    )


def hide(page: Page, *, hidden: bool) -> None:
    page.evaluate(
        """hidden => {
          Object.defineProperty(document, "hidden", { configurable: true, value: hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_a_model_that_is_well_again_is_offered_without_a_reload(clocked: Page, stage: Stage) -> None:
    stage.models = [MODEL, rests(OTHER)]
    picker = clocked.get_by_role("combobox", name="Model")
    picker.focus()
    expect(option(clocked, "plain")).to_have_text("Plain (unavailable)")
    expect(option(clocked, "plain")).to_be_disabled()
    clocked.evaluate("window.before = [...document.querySelector('#model').options]")
    with clocked.expect_response("**/config/models"):
        clocked.clock.fast_forward(13_000)
    stage.models = [MODEL, OTHER]
    with clocked.expect_response("**/config/models"):
        clocked.clock.fast_forward(13_000)
    expect(option(clocked, "plain")).to_have_text("Plain")
    expect(option(clocked, "plain")).to_be_enabled()
    expect(picker).to_be_focused()
    expect(picker).to_have_value("deep")
    assert clocked.evaluate("[...document.querySelector('#model').options].every((each, i) => each === before[i])")

    asked = looks(clocked)
    clocked.clock.run_for(60_000)
    assert asked.evaluate("asked => asked.count") == 0, "all are well"


def test_the_chosen_model_stays_chosen_while_it_rests(clocked: Page, stage: Stage) -> None:
    stage.models = [rests(MODEL), OTHER]
    picker = clocked.get_by_role("combobox", name="Model")
    picker.dispatch_event("pointerdown")
    expect(option(clocked, "deep")).to_have_text("Deep (unavailable)")
    expect(picker).to_have_value("deep")
    stage.models = [MODEL, OTHER]
    clocked.clock.fast_forward(13_000)
    expect(option(clocked, "deep")).to_have_text("Deep")
    expect(picker).to_have_value("deep")


def test_nobody_asks_for_a_tab_that_is_hidden(clocked: Page, stage: Stage) -> None:
    stage.models = [MODEL, rests(OTHER)]
    hide(clocked, hidden=True)
    hide(clocked, hidden=False)
    expect(option(clocked, "plain")).to_be_disabled()
    hide(clocked, hidden=True)
    asked = looks(clocked)
    clocked.clock.run_for(60_000)
    assert asked.evaluate("asked => asked.count") == 0
    stage.models = [MODEL, OTHER]
    hide(clocked, hidden=False)
    expect(option(clocked, "plain")).to_be_enabled()


def test_an_answer_that_failed_shows_at_once_who_rests(page: Page, stage: Stage) -> None:
    stage.begin()
    expect(under(page)).to_have_text("Connecting to Deep")
    stage.models = [rests(MODEL), OTHER]
    problem = {"type": "/problems/provider-failed", "reason": "unreachable", "model": "deep"}
    stage.end("failed", "error", problem=problem)
    expect(option(page, "deep")).to_have_text("Deep (unavailable)")
    box(page).focus()
    expect(page.get_by_role("combobox", name="Model")).to_have_value("deep")


def test_a_server_that_does_not_tell_its_models_is_asked_again(visit: Visit, stage: Stage) -> None:
    visitor = visit()
    page = visitor.page
    page.clock.install()
    stage.refuses = True
    with page.expect_response("**/config/models"):
        stage.play(page)
    expect(page.get_by_role("combobox", name="Model")).to_be_disabled()
    stage.refuses = False
    with page.expect_response("**/config/models"):
        page.clock.fast_forward(6_000)
    expect(page.get_by_role("combobox", name="Model")).to_be_enabled()
    visitor.complaints.clear()
