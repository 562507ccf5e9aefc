"""Makes docs/screenshot.png, and one in the dark and one of a phone: `python -m tests.e2e.screenshot [--url URL]`.

Without a URL it starts the whole system for the occasion, on free ports and in a temporary state directory.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

from tests.e2e.browser import MISSING, find_chromium, launch
from tests.e2e.system import running

DOCS = Path(__file__).parents[2] / "docs"
LOOKS: dict[str, dict[str, Any]] = {
    "screenshot.png": {"viewport": {"width": 1100, "height": 980}},
    "screenshot-dark.png": {"viewport": {"width": 1100, "height": 980}, "color_scheme": "dark"},
    "screenshot-phone.png": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
MAX_BYTES = 300_000
QUESTIONS = ("Why is the sky blue?", "Give me three tips for sleeping well.")


def take(url: str, directory: Path) -> None:
    """Have a short conversation at `url` and photograph it in each look."""
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit(MISSING)
    directory.mkdir(exist_ok=True)
    with sync_playwright() as playwright, launch(playwright, chromium) as browser:
        cookies: Any = None
        for name, look in LOOKS.items():
            context = browser.new_context(**look)
            if cookies is None:
                _converse(context.new_page(), url)
                cookies = context.cookies()
            context.add_cookies(cookies)
            page = context.new_page()
            page.goto(url)
            expect(page.get_by_role("article", name="Answer")).to_have_count(len(QUESTIONS))
            page.screenshot(path=directory / name)
            context.close()
            if (size := (directory / name).stat().st_size) > MAX_BYTES:
                raise SystemExit(f"{name} has {size} bytes; at most {MAX_BYTES} are wanted")


def _converse(page: Page, url: str) -> None:
    page.goto(url)
    # Temperature 0: the picture changes when the page does, and not with the dice.
    page.get_by_role("combobox", name="Model").select_option("smollm2-precise")
    for count, question in enumerate(QUESTIONS, start=1):
        page.get_by_role("textbox", name="Your message").fill(question)
        page.get_by_role("button", name="Send").click()
        answers = page.get_by_role("article", name="Answer")
        expect(answers).to_have_count(count)
        expect(answers.last).to_have_attribute("data-state", "complete", timeout=60_000)
        expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Take pictures of the chat page for docs.")
    parser.add_argument("--url", help="a running Switchboard, instead of one started for the occasion")
    url = parser.parse_args().url
    if url:
        take(url, DOCS)
    else:
        with (
            tempfile.TemporaryDirectory(prefix="switchboard-") as directory,
            running(Path(directory) / "state") as system,
        ):
            take(system.base_url, DOCS)


if __name__ == "__main__":
    main()
