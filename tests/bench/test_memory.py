"""The idle system's memory: that all of it is counted, and that too much of it is a failure."""

import re
import subprocess
import sys

import pytest

from bench.memory import Share, tell
from tests.support.web_process import ROOT

PROCESSES = {"valkey": 1, "web": 2, "worker": 1, "chat": 1, "beat": 1, "flower": 1, "up": 2}


def test_the_idle_system_takes_no_more_than_it_may() -> None:
    command = [sys.executable, "-m", "bench.memory"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    lines = re.findall(r"^(\w+) +(\d+) +([\d.]+)", done.stdout, re.MULTILINE)
    shares = {name: (int(count), float(megabytes)) for name, count, megabytes in lines}
    baseline = shares.pop("baseline")[1]
    assert {name: count for name, (count, _) in shares.items()} == PROCESSES
    # A process that was missed, or looked at before it had begun, would be smaller than Python with its libraries.
    assert all(shares[name][1] > baseline / 2 for name in ("web", "worker", "chat", "beat", "flower", "up"))


def test_more_than_it_may_is_a_failure_and_a_redis_of_ones_own_no_part_of_it() -> None:
    shares = [Share("valkey", 1, 50.0), Share("web", 2, 100.0), Share("chat", 1, 99.9)]
    tell(shares, baseline=50.0, limit=200.0)
    with pytest.raises(SystemExit, match=r"the idle system takes 199\.9 MB and may take 199"):
        tell(shares, baseline=50.0, limit=199.0)
