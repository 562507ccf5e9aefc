"""What Celery's command line makes of our options."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workers.local_process import ROOT


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("unix:///run/sb.sock?db=3", "redis False"),
        ("rediss://127.0.0.1:6390/1", "rediss {'ssl_cert_reqs': <VerifyMode.CERT_REQUIRED: 2>}"),
    ],
)
def test_a_worker_connects_by_our_reading_of_the_brokers_url(url: str, read: str, tmp_path: Path) -> None:
    """And not by Celery's own, which takes BROKER_URL from the environment just as it is written."""
    script = "from workers.app import app; c = app.connection_for_read(); print(c.transport_cls, c.ssl)"
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        # The second name is what Celery's command line makes of the first, before it loads the application.
        env={**os.environ, "BROKER_URL": url, "CELERY_BROKER_URL": url, "SWITCHBOARD_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stdout.strip() == read, run.stderr
