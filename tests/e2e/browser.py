"""Debian's Chromium, as the page tests and the screenshot start it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Playwright

MISSING = "Debian package 'chromium' is missing"

# No sandbox: root in a build machine has none. The rest keeps Chromium from calling home.
_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    """The browser's path, or None when it isn't installed."""
    return shutil.which("chromium")


@contextmanager
def launch(playwright: Playwright, path: str, *more: str) -> Iterator[Browser]:
    """A headless browser with `more` options, closed at the end."""
    browser = playwright.chromium.launch(executable_path=path, args=[*_ARGS, *more])
    try:
        yield browser
    finally:
        browser.close()
