"""The documents name files; one that has moved must not leave a document that leads nowhere."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SOURCES = sorted(path for room in ("core", "web", "workers", "cli", "bench") for path in (ROOT / room).rglob("*.py"))
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PATH = re.compile(r"(?<![\w./-])((?:[a-z_0-9]+/)*[a-z_0-9]+\.py)\b")
OTHERS = {"web.py"}
"""Names of files that are none of ours."""


@cache
def _files() -> frozenset[str]:
    rooms = ("core", "web", "workers", "cli", "bench", "tests")
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
