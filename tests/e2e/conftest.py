"""One running system for all end-to-end tests that don't break it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

from tests.e2e.browser import MISSING, find_chromium, launch
from tests.e2e.system import System, running
from tests.support.waiting import PATIENCE


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The whole system, with its local model, on free ports and a temporary state directory."""
    with running(tmp_path_factory.mktemp("system") / "state") as started:
        yield started
        assert started.stop() == 0


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """What drives browsers: there can be one in a thread."""
    expect.set_options(timeout=1000 * PATIENCE)
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """One Chromium; each test opens contexts of its own in it."""
    path = find_chromium()
    if path is None:
        pytest.skip(MISSING)
    with launch(playwright, path) as started:
        yield started
