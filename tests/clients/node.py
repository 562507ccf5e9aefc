"""Node programs of the tests, and the packages that they need, which npm installs from their lock files."""

import json
import shutil
import subprocess
import sysconfig
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(sysconfig.get_path("scripts"))
NODE = SCRIPTS / "node"
"""From PyPI, with the other development tools."""
INSTALL_TIME = 300.0
"""Seconds for the packages to come."""
ANSWER_TIME = 60.0
"""Seconds that a program may take for what it is told to do."""


def require_packages(directory: Path) -> None:
    """Have the packages of a directory's lock file installed in it. Skips the test where that can't be done."""
    if not NODE.exists():
        pytest.skip("Node is missing: make venv")
    lock, installed = directory / "package-lock.json", directory / "node_modules/.installed"
    if installed.exists() and installed.read_bytes() == lock.read_bytes():
        return
    command = [str(SCRIPTS / "npm"), "ci", "--loglevel=error"]
    run = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=INSTALL_TIME)
    if run.returncode != 0:
        pytest.skip(f"the packages of {directory} can't be installed: {run.stderr[-300:]}")
    shutil.copy(lock, installed)


class Driver:
    """A program that is told what to do by lines of JSON, and does many things at once."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [NODE, program], cwd=program.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._answers: dict[int, Future[Any]] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def begin(self, command: str, **options: Any) -> "Future[Any]":
        """Have it do something, and go on. The future has what it answers."""
        number = len(self._answers)
        self._answers[number] = future = Future[Any]()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"number": number, "command": command, **options}) + "\n")
        return future

    def do(self, command: str, **options: Any) -> Any:
        """Have it do something; what it answers."""
        return self.begin(command, **options).result(ANSWER_TIME)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            future = self._answers[told["number"]]
            if "error" in told:
                future.set_exception(RuntimeError(told["error"]))
            else:
                future.set_result(told["result"])
