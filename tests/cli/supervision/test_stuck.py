"""Children whose loops have come to a stand."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.supervision import stuck
from cli.supervision.children import ChildState
from core.operations.liveness import WRITING_LIMIT

LIVES = (
    "import sys; from pathlib import Path; from core.operations.liveness import Liveness\n"
    "living = Liveness(); living.expect('consumer', float(sys.argv[2])); living.start('worker', Path(sys.argv[1]))\n"
    "print('lives', flush=True); sys.stdin.read()"
)


@pytest.fixture
def child(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process whose consumer does not turn, which is found out after a moment."""
    command = [sys.executable, "-c", LIVES, str(tmp_path), "0.1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"lives\n"
        yield process
        process.kill()


def test_only_its_own_children_are_looked_at(tmp_path: Path, child: "subprocess.Popen[bytes]") -> None:
    later = time.monotonic() + WRITING_LIMIT - 5
    found = stuck.stuck_children(tmp_path, {"worker": ChildState(child.pid, 0), "chat": ChildState(None, 0)}, later)
    assert list(found) == ["worker"]
    assert found["worker"].startswith("its consumer has not turned for ")
    assert stuck.stuck_children(tmp_path, {"worker": ChildState(1, 0)}, later) == {}


def test_one_that_is_stuck_is_ended(
    tmp_path: Path, child: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stuck, "CHECK_INTERVAL", 0.2)
    said: list[str] = []

    async def watch() -> None:
        children = {"worker": ChildState(child.pid, 0)}
        watching = asyncio.create_task(stuck.end_stuck(tmp_path, lambda: children, said.append))
        await asyncio.to_thread(child.wait, 20)
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching

    asyncio.run(watch())
    assert child.returncode == -signal.SIGKILL
    assert said[0].startswith("worker is stuck: its consumer has not turned for ")
    assert said[0].endswith("; it is ended, and started again")
