"""A child's output on disk: `<state>/logs/<name>.log`, with the previous part beside it."""

from pathlib import Path

LIMIT = 5 * 1024 * 1024
"""Bytes after which a new file is begun. The one before it is kept: twice this is the most a log takes."""


class ChildLog:
    """An append-only file that turns over at its limit."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._open()

    def write(self, line: str) -> None:
        """Append a line, at once: whoever follows the file sees it."""
        self._size += self._file.write(line.encode(errors="replace") + b"\n")
        if self._size >= self._limit:
            self.close()
            self._path.replace(self._path.with_suffix(".log.1"))
            self._open()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> None:
        self._file = self._path.open("ab", buffering=0)
        self._size = self._path.stat().st_size
