"""A file system that is really full: 64 KiB of memory, mounted where the test may mount."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
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

    def fill_inodes(self) -> None:
        """Leave no inode: no other file can be made."""
        with contextlib.suppress(OSError):
            for number in count():
                (self.path / f"file-{number}").touch()

    def remount(self, mode: str) -> None:
        """Mount it anew, `ro` or `rw`."""
        subprocess.run([*_as_root(), "mount", "-o", f"remount,{mode}", str(self.path)], check=True)

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


def _as_root() -> list[str]:
    return ["sudo", "-n"] if os.geteuid() else []


@contextmanager
def small_disk(path: Path, size: str = SIZE, inodes: int = 0) -> Iterator[SmallDisk]:
    """Mounted at `path` for as long as the block lasts. 0 inodes: any number."""
    path.mkdir()
    user, as_root = os.geteuid(), _as_root()
    options = f"size={size},nr_inodes={inodes},mode=0700,uid={user}"
    mount = [*as_root, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    if (user and shutil.which("sudo") is None) or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run([*as_root, "umount", "--lazy", str(path)], check=True)
