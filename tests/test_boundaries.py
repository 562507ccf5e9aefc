"""What a room may know of its neighbours, where imports alone don't show it (pyproject.toml has the contracts)."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import inspect

from core.stores.tables import Session

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
"""What the web reads from requests and writes into answers, and no module of the domain mentions."""
HEADER_NAMES = {
    *(name.strip(":").lower() for name in HEADERS),
    *("accept", "content-disposition", "content-type", "cookie", "forwarded", "host", "link", "location"),
    *("origin", "prefer", "ratelimit", "vary"),
}
"""Headers that no string of the domain may name, in any spelling."""
BY_NAME = ("attrgetter", "delattr", "getattr", "methodcaller", "setattr")
SETTINGS_READERS = (
    "core/migrations/env.py",
    "core/operations/preflight/environment.py",
    "core/runtime.py",
    "web/app.py",
    "web/gunicorn.py",
)
"""Where a process is put together, or looked at before it is."""
CLIENTS = ("core/llm", "core/auth/issuer_http.py", "core/auth/oidc_login.py")
"""Speak HTTP to others."""


KNOWN = {
    "celery_config.py": {"core.operations.preflight.environment"},
    "broker/amqp_transport.py": set(),
    "broker/causes.py": {
        "broker.amqp_transport",
        "core.errors",
        "core.operations.preflight.mistake",
        "core.operations.preflight.redis_causes",
        "core.stores.redis",
        "core.text.characters",
        "core.text.masking",
    },
    "broker/connection.py": set(),
    "broker/queue_length.py": set(),
    "broker/queue_type.py": set(),
    "broker/redis_transport.py": {
        "core.messaging.replies",
        "core.stores.writable",
        "core.stores.redis",
        "core.stores.redis_url",
        "core.stores.sentinel",
        "core.text.masking",
    },
    "broker/taking.py": {"broker.amqp_transport"},
}
"""What of ours the modules import that others may import everywhere."""


def _modules(room: str) -> Iterator[Path]:
    for path in sorted((ROOT / room).rglob("*.py")):
        yield path.relative_to(ROOT)


@cache
def _nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse((ROOT / path).read_text())))


def _attributes(path: Path) -> Iterator[ast.Attribute]:
    for node in _nodes(path):
        if isinstance(node, ast.Attribute):
            yield node


def _attributes_by_name(path: Path) -> Iterator[tuple[int, str]]:
    """The attributes that are read or written by a name in a string: `getattr(row, "title")`."""
    for node in _nodes(path):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in BY_NAME:
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield node.lineno, argument.value


def _uses(path: Path, *names: str) -> list[int]:
    """The lines that use an attribute of one of these names."""
    spelled = [(node.lineno, node.attr) for node in _attributes(path)]
    return [line for line, name in (*spelled, *_attributes_by_name(path)) if name in names]


@pytest.mark.parametrize("path", [*_modules("core")], ids=str)
def test_the_domain_knows_no_header(path: Path) -> None:
    if str(path).startswith(CLIENTS):
        return
    text = (ROOT / path).read_text()
    assert [header for header in HEADERS if header in text] == []
    strings = [node.value for node in _nodes(path) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [text for text in strings if text.strip(": ").lower() in HEADER_NAMES] == []


@pytest.mark.parametrize("path", KNOWN)
def test_what_speaks_to_the_broker_knows_little(path: str) -> None:
    imported: set[str] = set()
    for node in _nodes(Path(path)):
        if isinstance(node, ast.ImportFrom):
            # A room itself, from which a module may be taken, is more than is known.
            imported.add(str(node.module))
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    ours = ("core", "broker", "web", "workers", "cli", "celery_config")
    assert {name for name in imported if name.partition(".")[0] in ours} == KNOWN[path]


@pytest.mark.parametrize("path", [*_modules("web")], ids=str)
def test_the_web_opens_no_transaction(path: Path) -> None:
    """It asks services, which open their own."""
    assert _uses(path, "reading", "writing") == []


@pytest.mark.parametrize("path", [*_modules("web")], ids=str)
def test_the_web_reaches_no_database(path: Path) -> None:
    """By that name. That no other public one leads there is tested on the objects (tests/web/test_services.py)."""
    assert _uses(path, "database", "_database", "engine") == []


@pytest.mark.parametrize("path", [*_modules("web")], ids=str)
def test_the_web_writes_into_no_row(path: Path) -> None:
    """Rows come to it detached: what is written into one is lost."""
    written = [node.attr for node in _attributes(path) if not isinstance(node.ctx, ast.Load)]
    columns = {column.key for column in inspect(Session).columns}
    assert columns & {*written, *(name for _, name in _attributes_by_name(path))} == set()


@pytest.mark.parametrize("path", [*_modules("core"), *_modules("web"), *_modules("workers")], ids=str)
def test_settings_are_read_where_a_process_is_put_together(path: Path) -> None:
    """All else is handed the values that it needs: a component in its constructor, the web as WebOptions. Those
    of one session, and where Redis has a guest's, are another thing."""
    read = [node.lineno for node in _attributes(path) if node.attr == "settings" and _is_runtime(node.value)]
    imported = [
        node.lineno for node in _nodes(path) if isinstance(node, ast.ImportFrom) and node.module == "core.settings"
    ]
    assert read + imported == [] or str(path) in SETTINGS_READERS


def _is_runtime(expression: ast.expr) -> bool:
    name = getattr(expression, "id", getattr(expression, "attr", ""))
    return name.strip("_") == "runtime"
