"""The page's pure modules, in Node's test runner: `node --test "tests/js/**/*.test.js"` runs the same by hand."""

import re
import subprocess
import sysconfig
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from web.schemas.responses import Event, UserEvent

ROOT = Path(__file__).parents[2]
NODE = Path(sysconfig.get_path("scripts"), "node")
"""From PyPI, with the other development tools."""


def test_the_modules_in_node() -> None:
    run = subprocess.run(
        [NODE, "--test", "--test-isolation=none", "--test-reporter=tap", "tests/js/**/*.test.js"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^# pass [1-9]", run.stdout, re.MULTILINE), run.stdout


@pytest.mark.parametrize(("module", "events"), [("events", Event), ("user-stream", UserEvent)])
def test_the_page_knows_each_type_of_event(module: str, events: type[BaseModel]) -> None:
    declared = re.findall(r'\{type: ("[^,]+"),', (ROOT / f"web/static/js/stream/{module}.js").read_text())
    types = [name.strip('"') for names in declared for name in names.split(" | ")]
    assert sorted(types) == sorted(get_args(events.model_fields["event"].annotation))
