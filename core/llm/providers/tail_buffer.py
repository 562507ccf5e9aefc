"""The end of a text that comes in pieces: pure."""

from collections import deque

MIN_TAIL_LENGTH = 200_000
"""Characters."""
PIECE_LENGTH = 1000
"""Characters that are put together, so that a text of single characters costs no more than another."""


class TailBuffer:
    """Keeps at least the last MIN_TAIL_LENGTH characters of what is added, and little more."""

    def __init__(self) -> None:
        self._pieces: deque[str] = deque([""])
        self._size = 0

    def add(self, piece: str) -> None:
        """Append a piece of the text."""
        self._size += len(piece)
        if len(self._pieces[-1]) + len(piece) <= PIECE_LENGTH:
            self._pieces[-1] += piece
        else:
            self._pieces.append(piece)
        while self._size - len(self._pieces[0]) >= MIN_TAIL_LENGTH:
            self._size -= len(self._pieces.popleft())

    def __str__(self) -> str:
        """The end of the text, with whole characters where their halves came in two pieces."""
        joined = "".join(self._pieces)[-MIN_TAIL_LENGTH:]
        return joined.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
