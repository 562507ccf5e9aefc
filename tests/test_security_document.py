"""docs/security.md names a test for each promise; a test that was renamed must not leave the promise without one."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROWS = [
    line.split("|")[1:4]
    for line in (TESTS.parent / "docs" / "security.md").read_text().splitlines()
    if line.startswith("| ") and "shown by" not in line
]


@pytest.mark.parametrize(("promise", "shown_by", "requirement"), ROWS, ids=[row[0].strip()[:50] for row in ROWS])
def test_every_promise_names_tests_that_there_are(promise: str, shown_by: str, requirement: str) -> None:
    files = re.findall(r"`((?:\w+/)+\w+\.py)`", shown_by)
    assert files, promise
    text = "".join(_read(file) for file in files)
    for names in re.findall(r"\((`[^)]*`)\)", shown_by):
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"def test_\w*{name}", text), name
    assert requirement.strip()


def _read(file: str) -> str:
    path = TESTS / file
    return (path if path.exists() else TESTS.parent / file).read_text()
