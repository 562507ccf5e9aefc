"""Makes docs/screenshot.png: `python -m tests.e2e.screenshot [--url URL]`.

Without a URL it starts the whole system for the occasion, on free ports and in a temporary state directory.
"""

import argparse
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.e2e.browser import MISSING, find_chromium, launch
from tests.e2e.system import running

TARGET = Path(__file__).parents[2] / "docs" / "screenshot.png"
MAX_BYTES = 300_000
QUESTIONS = ("Why is the sky blue?", "Give me three tips for sleeping well.")


def take(url: str, target: Path) -> None:
    """Have a short conversation at `url` and photograph it."""
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit(MISSING)
    with sync_playwright() as playwright, launch(playwright, chromium) as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 980})
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
        target.parent.mkdir(exist_ok=True)
        page.screenshot(path=target)
    if target.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{target} has {target.stat().st_size} bytes; at most {MAX_BYTES} are wanted")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Take docs/screenshot.png of the chat page.")
    parser.add_argument("--url", help="a running Switchboard, instead of one started for the occasion")
    url = parser.parse_args().url
    if url:
        take(url, TARGET)
    else:
        with (
            tempfile.TemporaryDirectory(prefix="switchboard-") as directory,
            running(Path(directory) / "state") as system,
        ):
            take(system.base_url, TARGET)


if __name__ == "__main__":
    main()
