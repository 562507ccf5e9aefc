"""The Procfile's commands, for those who start one of its processes by itself."""

import sys
from collections.abc import Sequence
from pathlib import Path

from cli.supervision.procfile import read_procfile

ROOT = Path(__file__).parents[2]


def procfile_command(name: str) -> Sequence[str]:
    """How the Procfile starts the process, with this interpreter and the program that is installed beside it."""
    program, *options = read_procfile(ROOT / "Procfile")[name]
    return [sys.executable, str(Path(sys.executable).with_name(program)), *options]
