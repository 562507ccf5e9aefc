"""A file system that is really full: 64 KiB of memory, mounted where the test may mount."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SIZE = "64k"


class SmallDisk:
    """The file system. `fill` leaves no byte, `free` gives all of them back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave no free page. Files go on to the end of their last ones."""
        _stuff(self._ballast, b"x" * 512)

    def pad(self, name: str) -> None:
        """On a full disk, fill the last page of a file."""
        _stuff(self.path / name, b"\n")

    def free(self) -> None:
        """Take away what fills it."""
        self._ballast.unlink()


def _stuff(path: Path, piece: bytes) -> None:
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(piece):
            pass


@contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk]:
    """Mounted at `path` for as long as the block lasts."""
    path.mkdir()
    user = os.geteuid()
    as_root = ["sudo", "-n"] if user else []
    mount = [*as_root, "mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700,uid={user}", "tmpfs", str(path)]
    if (user and shutil.which("sudo") is None) or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run([*as_root, "umount", "--lazy", str(path)], check=True)
