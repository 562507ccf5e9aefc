"""`switchboard alive`: whether the workers, or beat, of this machine live, for a supervisor or a kubelet.

It is asked every few seconds: it imports next to nothing, and asks neither the broker nor a store.
"""

import os
import time
from pathlib import Path

import click
from dotenv import dotenv_values

from cli.console import fail
from core.operations.liveness import Life, read_lives

VARIABLE = "SWITCHBOARD_STATE_DIR"
DEFAULT = ".switchboard"
"""As in core/settings.py, whose import would take most of the time."""


def check_alive(kind: str, pid: int | None) -> None:
    """Say that the processes of this kind live, or the one with this id. Raises CommandError when there is none, or
    one that does not."""
    directory = Path(os.environ.get(VARIABLE) or dotenv_values(".env").get(VARIABLE) or DEFAULT).absolute()
    name = kind if pid is None else f"{kind} {pid}"
    try:
        lives = [life for life in read_lives(directory, kind) if pid in (None, life.pid)]
    except OSError as error:
        fail(f"{error.filename} can't be read: {error.strerror}; ask as the user that runs the {kind}")
    if not lives:
        fail(f"{name} is not alive: none runs over {directory} ({VARIABLE})")
    now = time.monotonic()
    ill = [f"{_named(life)}: {stuck}" for life in lives if (stuck := life.stuck(now))]
    if ill:
        fail(f"not alive: {'; '.join(ill)}")
    click.echo(f"alive: {', '.join(map(_named, lives))}")


def _named(life: Life) -> str:
    return f"{life.kind} {life.pid}"
