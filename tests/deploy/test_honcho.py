"""The Procfile as it is, under honcho."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import OPTIONS, ROOT, free_port


class Honcho:
    """`honcho start` in the project's directory."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.port = free_port()
        programs = Path(sys.executable).parent
        inherited = {name: value for name, value in os.environ.items() if not OPTIONS.match(name)}
        self._log = directory / "honcho.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, programs / "honcho", "--env", directory / "none", "start", "--port", str(self.port)],
                cwd=ROOT,
                env={**inherited, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **environment},
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        """What it and its processes have written."""
        return self._log.read_text()

    def ready(self) -> bool:
        """Whether all parts answer. Fails when it has ended."""
        assert self.process.poll() is None, self.log
        try:
            return httpx2.get(f"http://127.0.0.1:{self.port}/readyz", trust_env=False).is_success
        except httpx2.HTTPError:
            return False

    def stop(self) -> int:
        """End it as Ctrl+C does."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture
def honcho(own_valkey: Valkey, database_url: str, models_path: Path, tmp_path: Path) -> Iterator[Honcho]:
    started = Honcho(
        tmp_path,
        REDIS_URL=own_valkey.url,
        DATABASE_URL=database_url,
        SWITCHBOARD_MODELS=str(models_path),
        SWITCHBOARD_STATE_DIR=str(tmp_path),
        FLOWER_PORT=str(free_port()),
    )
    yield started
    started.stop()


def test_all_run_though_there_is_no_model_to_serve(honcho: Honcho) -> None:
    wait_for(honcho.ready, what="all parts are there")
    wait_for(lambda: "there is nothing to serve" in honcho.log, what="the model's process has nothing to do")
    assert honcho.ready()
    assert honcho.stop() == 128 + signal.SIGINT  # its own, not that of a process which failed
