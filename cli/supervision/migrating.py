"""The database brought up to date by a process of its own: what that loads would stay in the supervisor for ever."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from cli.console import fail
from cli.supervision.supervisor import die_with_parent

PREFIX = "switchboard: "
"""What a command's error begins with."""


async def migrated(environment: Mapping[str, str], directory: Path) -> str:
    """Run `switchboard migrate`; returns what that changed. Raises CommandError with its error.

    Cancelled, it waits for the end: half a migration is worse than a late stop.
    """
    process = await asyncio.create_subprocess_exec(
        "switchboard",
        "migrate",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=directory,
        env=dict(environment),
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    ending = asyncio.create_task(process.communicate())
    try:
        told, complaints = await asyncio.shield(ending)
    except asyncio.CancelledError:
        await ending
        raise
    if process.returncode != 0:
        lines = complaints.decode(errors="replace").strip().splitlines()
        fail(lines[-1].removeprefix(PREFIX) if lines else f"switchboard migrate: exit status {process.returncode}")
    return told.decode().strip().removeprefix("database ")
