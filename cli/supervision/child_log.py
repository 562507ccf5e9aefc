"""A child's output on disk: `<state>/logs/<name>.log`, with the previous part beside it."""

import contextlib
import io
import os
from pathlib import Path

MAX_LOG_SIZE = 5 * 1024 * 1024
"""Bytes after which a new file is begun. The one before it is kept: twice this is the most a log takes."""


class ChildLog:
    """An append-only file that turns over at its limit.

    Its methods raise nothing: on a full disk lines are lost, and the log says how many when it takes some again. A
    child whose output is not read any more would block at its next line.
    """

    def __init__(self, path: Path, limit: int = MAX_LOG_SIZE) -> None:
        self._path = path
        self._limit = limit
        self._file: io.FileIO | None = None
        self._size = 0
        self._torn = False
        """The file ends with a part of a line."""
        self.lost = 0
        """Lines that could not be written since the last that could."""

    def write(self, line: str) -> None:
        """Append a line, at once, for readers that follow the file."""
        try:
            if self.lost:
                self._append(f"(lines missing here, which could not be written: {self.lost})")
                self.lost = 0
            self._append(line)
        except OSError:
            self.lost += 1
            self.close()  # what is wrong may be this file alone

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _append(self, line: str) -> None:
        if self._file is not None and not _is_at(self._path, self._file):
            self.close()  # another program has moved it away, or deleted it
            self._torn = False
        if self._file is None:
            self._path.parent.mkdir(exist_ok=True)
            self._file = io.FileIO(self._path, "a")
            self._size = self._path.stat().st_size
        if self._size >= self._limit:
            # Never beyond the limit, also where the file can't be renamed: then its lines are lost.
            self._path.replace(self._path.with_suffix(".log.1"))
            self.close()
            self._torn = False
            self._append(line)
            return
        data = b"\n" * self._torn + line.encode(errors="replace") + b"\n"
        written = self._file.write(data) or 0
        self._size += written
        self._torn = self._torn if written == 0 else written < len(data)
        if written < len(data):
            raise OSError(f"{self._path} takes no more")


def _is_at(path: Path, file: io.FileIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
