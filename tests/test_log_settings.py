"""The settings of the log stop every process that starts with a wrong one, and say so in one line."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROCESSES = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())


@pytest.mark.parametrize(
    ("variable", "value", "right"),
    [
        ("SWITCHBOARD_LOG_LEVEL", "loud", "'debug', 'info', 'warning', 'error' or 'critical'"),
        ("SWITCHBOARD_LOG_FORMAT", "yaml", "'text' or 'json'"),
    ],
)
@pytest.mark.parametrize("command", [*PROCESSES.values(), "switchboard up"], ids=[*PROCESSES, "up"])
def test_a_wrong_one_stops_the_start(command: str, variable: str, value: str, right: str, tmp_path: Path) -> None:
    program, *arguments = shlex.split(command)
    run = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=ROOT,
        env={**os.environ, "SWITCHBOARD_STATE_DIR": str(tmp_path), variable: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr == f"switchboard: {variable}={value}: Input should be {right}\n"
