"""A tiny run of the benchmarks that have no test of their own elsewhere: they end well, and print their figures."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.web_process import ROOT


def _run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=350, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.timeout(400)
def test_generate() -> None:
    printed = _run("bench.generate", "--quick", "--streams", "1", "3", "--pace", "50")
    assert "3 x 1333" in printed
    assert "3 x 50/s, Switchboard" in printed
    assert "kB a stream" in printed


@pytest.mark.timeout(200)
def test_limits_and_the_report(tmp_path: Path) -> None:
    printed = _run("bench.report", "--quick", "--only", "limits", "--into", str(tmp_path))
    assert "charge over 3 buckets" in printed
    written = (tmp_path / "performance.md").read_text()
    assert "charge over 3 buckets" in written
    assert "cores" in written
    assert not (tmp_path / "performance.svg").exists()
