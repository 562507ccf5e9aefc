"""The Procfile: the processes that the system consists of, by name."""

import re
import shlex
from pathlib import Path

from cli.console import fail

_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")


def read_procfile(path: Path) -> dict[str, list[str]]:
    """Each process's command as a list of arguments, in the file's order.

    Commands run without a shell, so that a process's id is the program's and not a shell's.
    Raises CommandError, with the line, when one is not `name: command`.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        fail(f"{path}: can't be read: {error.strerror}")
    commands: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or match[1] in commands:
            fail(f"{path}:{number}: {'two processes have one name' if match else 'expected `name: command`'}")
        try:
            commands[match[1]] = shlex.split(match[2])
        except ValueError as error:
            fail(f"{path}:{number}: {error}")
    return commands
