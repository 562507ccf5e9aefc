"""Whether a disk has place left."""

import os
from pathlib import Path

MIN_FREE = 64 * 1024
"""Bytes. With less a database can't grow, whatever single pages are left."""


def full_disk(directory: Path) -> str | None:
    """What the directory's disk has no more of, in words, or None. Some file systems don't count their files."""
    state = os.statvfs(directory)
    privileged = os.geteuid() == 0
    if state.f_files and not (state.f_ffree if privileged else state.f_favail):
        return f"the disk of {directory} has no inode left"
    if (state.f_bfree if privileged else state.f_bavail) * state.f_frsize < MIN_FREE:
        return f"the disk of {directory} is full"
    return None
