"""Ends what `switchboard up` leaves behind when it is itself killed.

The kernel's parent-death signal reaches a child, but not what that child has forked (gunicorn's
workers), so this process, which `up` starts first, is told of every process group and kills those that are
left when its standard input ends. It shares the state directory's lock until then: the next
`up` finds the ports free. It imports the standard library only, to start in a few milliseconds.
"""

import contextlib
import os
import signal
import sys
import time

CLEANUP_TIMEOUT = 0.8
"""Seconds to wait for the killed groups to be gone; less than a new start waits for the lock."""


def main() -> None:
    """Read `+GROUP` and `-GROUP` lines until `up` is gone, then kill the groups that remain."""
    groups: set[int] = set()
    for line in sys.stdin:
        change = groups.add if line.startswith("+") else groups.discard
        change(int(line[1:]))
    deadline = time.monotonic() + CLEANUP_TIMEOUT
    while groups and time.monotonic() < deadline:
        groups = {group for group in groups if _kill(group)}
        time.sleep(0.01)


def _kill(group: int) -> bool:
    """Whether the group was still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
        return True
    return False


if __name__ == "__main__":
    main()
