"""Whether a process's loops turn: each process writes down when each of them last has, and others read it.

That is a file of its own in the state directory, and asks for no broker and no store: one that is away makes no
process look dead. The times are the kernel's monotonic ones, which all processes of a machine share. A process holds
a lock on its file as long as it lives, so that a file which a killed one has left behind is told apart, whichever
process has its number by now.
"""

import contextlib
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

logger = logging.getLogger(__name__)

INTERVAL = 2.0
"""Seconds between two writes."""
WRITING = "process"
"""The part that is the writing itself: it stands still when the whole process is frozen."""
WRITING_LIMIT = 30.0
"""Seconds for that, on a machine that is busy."""
RECORD_SIZE = 1024
"""Bytes. A record is written over the one before, so that it needs no place on a full disk."""
UNKNOWN = "`switchboard alive` does not know of this process: %s: %s"

Probe = Callable[[Callable[[], None]], object]
"""Has a part of the process call what it is given, and does not wait for that."""


@dataclass(frozen=True)
class Life:
    """What is known of a living process."""

    kind: str
    pid: int
    turned: Mapping[str, tuple[float, float]]
    """By part the moment at which it last turned, and the seconds that it may take to do so again."""

    def stuck(self, now: float) -> str | None:
        """The parts that stand still at this moment of the monotonic clock, in words, or None."""
        ages = {part: (now - turned, limit) for part, (turned, limit) in self.turned.items()}
        found = [f"its {part} has not turned for {age:.0f} s" for part, (age, limit) in ages.items() if age > limit]
        return ", ".join(found) or None


class Liveness:
    """Of this process. Its parts say themselves that they `turned`, or are asked to."""

    def __init__(self) -> None:
        self._kind = ""
        self._limits: dict[str, float] = {}
        self._turned: dict[str, float] = {}
        self._probes: dict[str, Probe] = {}
        self._asked: set[str] = set()

    def expect(self, part: str, limit: float, probe: Probe | None = None) -> None:
        """The part is to turn, every time within `limit` seconds; with a probe it is asked to say so."""
        self._limits[part] = limit
        self.turned(part)
        if probe is not None:
            self._probes[part] = probe

    def turned(self, part: str) -> None:
        """The part turns. From any thread."""
        self._turned[part] = time.monotonic()
        self._asked.discard(part)

    def start(self, kind: str, state_directory: Path) -> None:
        """Write from now on, in a thread of its own, as long as the process lives."""
        self._kind = kind
        self.expect(WRITING, WRITING_LIMIT)
        path = _directory(state_directory) / f"{kind}-{os.getpid()}@{socket.gethostname()}"
        try:
            state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = self._open(path)
        except OSError as error:
            logger.warning(UNKNOWN, error.filename, error.strerror)
            return
        Thread(target=self._write_forever, args=(path, descriptor), name="liveness", daemon=True).start()

    def _open(self, path: Path) -> int:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _remove_remains(path.parent)
        draft = path.with_name(f".{path.name}")
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # before it is there for others
        self._write(descriptor)
        draft.rename(path)
        return descriptor

    def _write_forever(self, path: Path, descriptor: int) -> None:
        notify_systemd("READY=1")
        told = False
        while True:
            for part, probe in self._probes.items():
                if part not in self._asked:  # one question at a time
                    self._asked.add(part)
                    with contextlib.suppress(Exception):  # then it does not turn
                        probe(lambda part=part: self.turned(part))  # type: ignore[misc]
            self.turned(WRITING)
            try:
                # Tidied away, with its directory perhaps. One above that may come back.
                if not _is_at(path, descriptor):
                    made = self._open(path)
                    os.close(descriptor)
                    descriptor = made
                self._write(descriptor)
                told = False
            except OSError as error:
                if not told:
                    logger.warning(UNKNOWN, error.filename or path, error.strerror)
                told = True
            if not self._life().stuck(time.monotonic()):
                notify_systemd("WATCHDOG=1")
            time.sleep(INTERVAL)

    def _life(self) -> Life:
        turned = {part: (self._turned[part], limit) for part, limit in self._limits.items()}
        return Life(self._kind, os.getpid(), turned)

    def _write(self, descriptor: int) -> None:
        life = self._life()
        record = json.dumps({"kind": life.kind, "pid": life.pid, "turned": life.turned})
        os.pwrite(descriptor, record.ljust(RECORD_SIZE).encode(), 0)


def read_lives(state_directory: Path, kind: str) -> Iterator[Life]:
    """The processes of this kind, of this machine, that live. Raises OSError for files of another user."""
    for path in sorted(_directory(state_directory).glob(f"{kind}-*@{socket.gethostname()}")):
        with contextlib.suppress(FileNotFoundError, ValueError), path.open("rb") as file:
            if not _is_free(file.fileno()):
                found = json.loads(file.read(RECORD_SIZE))
                yield Life(found["kind"], found["pid"], {part: tuple(at) for part, at in found["turned"].items()})


def notify_systemd(state: str) -> None:
    """Tell systemd, if it has started this process and wants to know (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] in ("/", "@"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
            notifications.setblocking(False)
            notifications.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


def _directory(state_directory: Path) -> Path:
    return state_directory / "alive"


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_remains(directory: Path) -> None:
    """Of processes of this machine that were killed."""
    for path in directory.glob(f"*@{socket.gethostname()}"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            if _is_free(file.fileno()):
                path.unlink()


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
