"""What a room may know of its neighbours, where imports alone don't show it (pyproject.toml has the contracts)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

HEADERS = (
    "Authorization",
    "Cache-Control",
    "ETag",
    "Idempotency-Key",
    "If-Match",
    "Last-Event-ID",
    "Location:",
    "RateLimit-Policy",
    "Retry-After",
    "Sec-Fetch-Site",
    "Set-Cookie",
    "WWW-Authenticate",
    "X-Forwarded-",
    "X-Session-ID",
)
"""What the web reads from requests and writes into answers."""
CLIENTS = ("core/llm", "core/auth/oidc.py", "core/auth/oidc_login.py")
"""Speak HTTP to others."""


def _modules(room: str) -> Iterator[Path]:
    for path in sorted((ROOT / room).rglob("*.py")):
        yield path.relative_to(ROOT)


def _attributes(path: Path) -> Iterator[ast.Attribute]:
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Attribute):
            yield node


@pytest.mark.parametrize("path", [*_modules("core")], ids=str)
def test_the_domain_knows_no_header(path: Path) -> None:
    if str(path).startswith(CLIENTS):
        return
    text = (ROOT / path).read_text()
    assert [header for header in HEADERS if header in text] == []


@pytest.mark.parametrize("path", [*_modules("web")], ids=str)
def test_the_web_opens_no_transaction(path: Path) -> None:
    """It asks services, which open their own."""
    opened = [node.lineno for node in _attributes(path) if node.attr in ("reading", "writing")]
    assert opened == []


@pytest.mark.parametrize("path", [*_modules("web")], ids=str)
def test_only_the_context_knows_that_there_is_a_database(path: Path) -> None:
    used = [node.lineno for node in _attributes(path) if node.attr == "database"]
    assert used == [] or path == Path("web/context.py")
