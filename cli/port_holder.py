"""Which process listens on a port, as far as /proc tells."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
_LISTENS = "0A"
"""The state of such a socket in /proc/net/tcp."""


def port_holder(port: int) -> str | None:
    """The process that listens on a TCP port: `gunicorn, pid 4711`; None if /proc does not say."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) in sockets:
                        return f"{(process / 'comm').read_text().strip()}, pid {process.name}"
    return None


def _listening(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (PROC / "net" / table).read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == _LISTENS and int(local.rpartition(":")[2], 16) == port:
                    yield rest[5]
