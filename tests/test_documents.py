"""The documents name files and settings; one that has moved must not leave a document that leads nowhere."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from core.settings import Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SOURCES = sorted(path for room in ("core", "web", "workers", "cli", "bench") for path in (ROOT / room).rglob("*.py"))
SCRIPTS = sorted((ROOT / "web").rglob("*.js"))
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PATH = re.compile(r"(?<![\w./-])((?:[a-z_0-9]+/)*[a-z_0-9]+\.py)\b")
PLACE = re.compile(r"(?<![\w./-])((?:core|web|workers|cli|bench|tests|docs|deploy|examples)/(?:[\w.-]+/)*[\w.-]*\w)")
OTHERS = {"web.py"}
"""Names of files that are none of ours."""


@cache
def _files() -> frozenset[str]:
    rooms = ("core", "web", "workers", "cli", "bench", "tests", "examples")
    inside = {path.relative_to(ROOT).as_posix() for room in rooms for path in (ROOT / room).rglob("*.py")}
    return frozenset(inside | {path.name for path in ROOT.glob("*.py")})


def _exists(name: str) -> bool:
    return name in OTHERS or any(file == name or file.endswith(f"/{name}") for file in _files())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_document_leads_to_files_that_there_are(document: Path) -> None:
    text = document.read_text()
    links = [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    assert links == []
    assert sorted(name for name in set(PATH.findall(text)) if not _exists(name)) == []


def test_comments_lead_to_files_that_there_are() -> None:
    lost = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in SOURCES
        for name in PATH.findall(path.read_text())
        if "/" in name and not (ROOT / name).exists() and not _exists(name)
    }
    assert lost == set()


def test_documents_and_comments_lead_to_folders_that_there_are() -> None:
    lost = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in [*DOCUMENTS, *SOURCES, *SCRIPTS]
        for name in PLACE.findall(path.read_text())
        # The table of tests in docs/security.md leaves out their folder.
        if not any((ROOT / folder / name).exists() for folder in ("", "tests"))
    }
    assert lost == set()


def _variables(field: FieldInfo) -> Iterator[str]:
    assert isinstance(field.validation_alias, AliasChoices)
    return (str(name) for name in field.validation_alias.choices if str(name).isupper())


def test_every_setting_has_a_row_among_the_options() -> None:
    rows = re.findall(r"^\| (`[^|]+`) \|", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    # `SWITCHBOARD_USER_IDLE`, `_USER_MAX`: a name that begins with an underscore goes on as the first one does.
    documented = {
        f"SWITCHBOARD{name}" if name.startswith("_") else name for row in rows for name in re.findall(r"`(\w+)`", row)
    }
    names = {name for field in Settings.model_fields.values() for name in _variables(field)}
    assert len(names) == len(Settings.model_fields)
    assert names - documented == set()


def test_every_setting_is_read() -> None:
    nodes = (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text())))
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert set(Settings.model_fields) - read == set()
