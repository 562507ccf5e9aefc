"""Ends processes whose loops have come to a stand: a supervisor that waits for exits would wait for ever."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from cli.supervision.children import ChildState
from core.operations.liveness import read_lives

CHECK_INTERVAL = 10.0
"""Seconds. A process is ended that was stuck twice: after the machine itself has stood still, all seem so once."""
KINDS = ("worker", "chat", "beat")


def stuck_children(state_directory: Path, children: Mapping[str, ChildState], now: float) -> dict[str, str]:
    """By name the children that are stuck at this moment of the monotonic clock, and what of them stands still."""
    names = {child.pid: name for name, child in children.items() if child.pid is not None}
    lives = [life for kind in KINDS for life in read_lives(state_directory, kind) if life.pid in names]
    return {names[life.pid]: stuck for life in lives if (stuck := life.stuck(now))}


async def end_stuck(
    state_directory: Path, children: Callable[[], Mapping[str, ChildState]], say: Callable[[str], None]
) -> None:
    """Kill each child that is stuck, and say so; the supervisor starts it again. Ends when it is cancelled."""
    suspected: dict[str, str] = {}
    while True:
        await asyncio.sleep(CHECK_INTERVAL)
        with contextlib.suppress(OSError):
            before, current = suspected, children()
            suspected = stuck_children(state_directory, current, time.monotonic())
            for name, stuck in suspected.items():
                pid = current[name].pid
                if name in before and pid is not None:
                    say(f"{name} is stuck: {stuck}; it is ended, and started again")
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
