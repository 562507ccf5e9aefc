"""The state directory: the lock on it, and what the running system tells other shells about itself."""

import contextlib
import fcntl
import json
import os
import pwd
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cli.console import fail
from cli.supervision.children import ChildState
from core.stores.disk import full_disk

LOCK_TIMEOUT = 1.0
"""Seconds a start waits for the lock: as long as the watchdog of a killed run may need to clear up."""


@dataclass(frozen=True)
class RunningSystem:
    """Where the running system's parts are. The field names are those of Settings."""

    pid: int
    configured_redis_url: str
    configured_broker_url: str | None
    configured_database_url: str
    host: str
    port: int
    flower_port: int
    model_url: str
    flower_address: str = "127.0.0.1"
    flower_url_prefix: str = ""
    model_key: str = field(default="", repr=False)
    children: Mapping[str, ChildState] = field(default_factory=dict)
    """Its processes, by name."""

    @property
    def settings(self) -> dict[str, object]:
        """What of this are options, by field name, to come before those of the environment."""
        named = {name: value for name, value in asdict(self).items() if name not in ("pid", "children")}
        return {name: value for name, value in named.items() if value not in (None, "")}


class StateDirectory:
    """Everything that `switchboard up` and its embedded services write."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.valkey = self.path / "valkey"
        self._lock = self.path / "up.lock"
        self._runtime = self.path / "runtime.json"

    def require_usable(self) -> None:
        """Raise CommandError when the directory is another user's, or can't be written. Changes nothing."""
        variable = f"SWITCHBOARD_STATE_DIR={self.path}"
        existing = next(path for path in (self.path, *self.path.parents) if path.exists())
        if not existing.is_dir():
            fail(f"{variable}: {existing} is no directory; name another, or move that away")
        own, owner = os.geteuid(), existing.stat().st_uid
        if existing == self.path and owner != own:
            remedy = f"start as {_user(owner)}, or give it to the other with chown"
            fail(f"{variable}: it belongs to {_user(owner)}, and this is {_user(own)}; {remedy}")
        if not os.access(existing, os.W_OK | os.X_OK):
            fail(f"{variable}: {_user(own)} may not write in {existing}; allow that, or name another directory")

    def full(self) -> str | None:
        """What its disk has no more of, in words, or None. Tries with a file that has no name."""
        existing = next(path for path in (self.path, *self.path.parents) if path.exists())
        if lack := full_disk(existing):
            return lack
        try:
            with tempfile.TemporaryFile(dir=existing, buffering=0) as file:
                file.write(bytes(4096))
        except OSError as error:
            return f"{existing} takes no more: {error.strerror}"
        return None

    def prepare(self) -> None:
        """Make the directories, for their owner only. Raises CommandError when that is impossible."""
        self.require_usable()
        try:
            for directory in (self.path, self.logs, self.valkey):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            fail(f"SWITCHBOARD_STATE_DIR={self.path}: it can't be made: {error.strerror}; name another directory")
        for old in self.path.glob("beat-schedule*"):  # of versions whose beat kept one
            with contextlib.suppress(OSError):
                old.unlink()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[int]:
        """Hold the directory's lock, which dies with its holders; gives its file descriptor.

        Raises CommandError with the holder's process id when another system runs on this directory.
        """
        try:
            lock = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            fail(f"SWITCHBOARD_STATE_DIR={self.path}: it can't be used: {error.strerror}; name another directory")
        try:
            deadline = time.monotonic() + LOCK_TIMEOUT
            while not _try_lock(lock):
                if time.monotonic() > deadline:
                    holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
                    fail(
                        f"already running on {self.path} (pid {holder}); "
                        "stop it, or set SWITCHBOARD_STATE_DIR, PORT and FLOWER_PORT for a second one"
                    )
                time.sleep(0.05)
            with contextlib.suppress(OSError):  # a full disk: a second process is not told the pid
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            yield lock
        finally:
            os.close(lock)

    def write_runtime(self, runtime: RunningSystem) -> None:
        """Say where the parts are. The URLs may hold passwords: the file is its owner's only.

        Raises OSError, and then what was said before still stands.
        """
        draft = self._runtime.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(runtime), file, indent=2)
        draft.replace(self._runtime)

    def remove_runtime(self) -> None:
        """The parts are gone."""
        with contextlib.suppress(OSError):  # its readers look at the lock, too
            self._runtime.unlink(missing_ok=True)

    def read_runtime(self) -> RunningSystem | None:
        """Where the running system's parts are, or None when no system runs on this directory."""
        try:
            with self._lock.open() as lock:
                if _try_lock(lock.fileno()):
                    return None  # a file that a killed run left behind
            told = json.loads(self._runtime.read_text(encoding="utf-8"))
            children = {name: ChildState(**state) for name, state in told.pop("children").items()}
            return RunningSystem(**told, children=children)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


def _user(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
