"""What the page says of answers: its own module, in Debian's Chromium."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from playwright.sync_api import sync_playwright
from werkzeug.serving import make_server

from tests.e2e.browser import launch
from web.app import create_app

MODULE = "/static/js/conversation/answer-status.js"
UNDER = """async ([module, items]) => {
  const { statusLine } = await import(module);
  return items.map((item) => statusLine(item, (model) => model));
}"""


def under_answers(chromium: str, messages: Sequence[dict[str, Any]], runtime: Any) -> list[str]:
    """What stands under each of the messages, as `/session/messages` has them, after a reload."""
    server = make_server("127.0.0.1", 0, create_app(runtime), threaded=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        # Playwright can run once in a thread, and tests/e2e has it in the main one.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(_evaluate, chromium, f"http://127.0.0.1:{server.server_port}", messages).result(60)
    finally:
        server.shutdown()


def _evaluate(chromium: str, origin: str, messages: Sequence[dict[str, Any]]) -> list[str]:
    with sync_playwright() as playwright, launch(playwright, chromium) as browser:
        page = browser.new_page()
        page.goto(origin + MODULE)
        words: list[str] = page.evaluate(UNDER, [origin + MODULE, list(messages)])
        return words
