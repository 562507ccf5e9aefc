"""What the web is handed of the domain (web/services/__init__.py)."""

from collections.abc import Iterator, Mapping

from sqlalchemy import Engine

from core.runtime import Runtime
from core.settings import Settings
from core.stores.database import Database
from web.services import Services


def _reached(part: object, way: str, seen: set[int]) -> Iterator[tuple[str, object]]:
    """All that public attributes lead to, and the way to it."""
    if id(part) in seen or not type(part).__module__.startswith(("core.", "web.", "sqlalchemy.")):
        return
    seen.add(id(part))
    yield way, part
    attributes: Mapping[str, object] = getattr(part, "__dict__", {})
    for name, value in attributes.items():
        if not name.startswith("_"):
            yield from _reached(value, f"{way}.{name}", seen)


def test_no_public_attribute_of_a_service_leads_to_the_database_or_the_settings(web_runtime: Runtime) -> None:
    names = [name for name, value in vars(Services).items() if isinstance(value, property) and name != "issuer_login"]
    seen: set[int] = set()
    reached = dict(pair for name in names for pair in _reached(getattr(web_runtime, name), name, seen))
    assert len(reached) > len(names)
    assert [way for way, part in reached.items() if isinstance(part, Database | Engine | Settings)] == []
