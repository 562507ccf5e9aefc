"""`switchboard flower`: what it says when it can't keep its history."""

import os
import subprocess
from pathlib import Path

import httpx2

from tests.cli.test_commands import OURS, ROOT, SWITCHBOARD
from tests.support.full_disk import small_disk
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import free_port


class Flower:
    """The process, with a state directory on a disk of its own; its log is beside that."""

    def __init__(self, directory: Path, valkey: Valkey) -> None:
        port = free_port()
        self._url = f"http://127.0.0.1:{port}/healthcheck"
        self._log = directory.parents[1] / "flower.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith((*OURS, "FLOWER_"))}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [SWITCHBOARD, "flower"],
                cwd=directory.parents[1],
                env={
                    **inherited,
                    "REDIS_URL": valkey.url,
                    "FLOWER_PORT": str(port),
                    "SWITCHBOARD_STATE_DIR": str(directory),
                    "SWITCHBOARD_MODELS": str(ROOT / "models.toml"),
                },
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(self._answers, seconds=30, what=f"Flower answers, see {self._log}")
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def said(self) -> str:
        """End it as an operator would; all that it has said."""
        self._process.terminate()
        assert self._process.wait(20) == 0
        return self._log.read_text()

    def _answers(self) -> bool:
        try:
            return httpx2.get(self._url, trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False


def test_a_history_that_can_not_be_kept_is_a_line_at_the_start_and_at_the_end(tmp_path: Path, valkey: Valkey) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        said = Flower(disk.path / "state", valkey).said()
        assert "history" not in said
        assert list((disk.path / "state" / "flower").glob("history*"))
        disk.remount("ro")
        flower = Flower(disk.path / "state", valkey)
        said = flower.said()
        disk.remount("rw")
    assert "Traceback" not in said
    lines = said.splitlines()
    history = disk.path / "state" / "flower" / "history"
    assert any(f"the history can't be written to {history}: it ends with this process" in line for line in lines)
    assert sum("history" in line for line in lines) in (
        2,
        3,
    )  # the kinds of dbm differ in whether it can be read there


def test_a_full_disk_leaves_the_history_of_before(tmp_path: Path, valkey: Valkey) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        Flower(disk.path / "state", valkey).said()
        before = {path: path.read_bytes() for path in (disk.path / "state" / "flower").glob("history*")}
        flower = Flower(disk.path / "state", valkey)
        disk.fill()
        said = flower.said()
        kept = {path: path.read_bytes() for path in before}
    assert "Traceback" not in said
    assert "the history can't be written to" in said
    assert kept == before
