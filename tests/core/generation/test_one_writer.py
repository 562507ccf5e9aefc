"""What grows while an answer is written is changed by one module each; all others read it."""

import ast
import inspect
from pathlib import Path

import pytest

from core.generation.draft import Draft
from core.generation.usage import UsageMeter

ROOT = Path(__file__).parents[3]
CODE = [path for room in ("core", "workers", "web", "cli") for path in sorted((ROOT / room).rglob("*.py"))]


def _callers(part: str, methods: set[str]) -> set[str]:
    """The modules that call one of these methods of an attempt's part, by whatever name they have the part."""
    found = set()
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in methods
                and ast.unparse(node.func.value).rpartition(".")[2] == part
            ):
                found.add(path.name)
    return found


def _public(kind: type, *reads: str) -> set[str]:
    """The methods of a class that change it."""
    return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if name[0] != "_"} - set(reads)


@pytest.mark.parametrize(
    ("part", "methods", "owner"),
    [
        ("draft", _public(Draft), "events.py"),
        ("usage_meter", _public(UsageMeter, "usage", "estimate"), "model_call.py"),
        ("stop_requested", {"set", "clear"}, "attempts.py"),
    ],
)
def test_each_part_of_an_attempt_has_one_writer(part: str, methods: set[str], owner: str) -> None:
    assert methods
    assert _callers(part, methods) == {owner}
