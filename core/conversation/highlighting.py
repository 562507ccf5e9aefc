"""Code with its syntax marked, as HTML with the classes of Pygments."""

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MAX_CODE = 20_000
"""Characters of one block."""
MAX_TOTAL = 40_000
"""Characters of all blocks of a text."""
TIMEOUT = 5.0
"""Seconds until a process that does not answer is ended; it interrupts itself after 0.3 s of work."""
MAX_KEPT = 64
"""Blocks whose HTML is kept in mind: what is highlighted while an answer is written is not highlighted again at its
end."""

PROGRAM = Path(__file__).with_name("highlighting_process.py")


class Code(NamedTuple):
    """A block of code."""

    language: str
    """As the block names it; no other is guessed."""
    text: str


class Highlighter:
    """Highlights in one other process, which it starts when there is something to do, and again where it has died.

    A thread that finds it busy for long gets plain code.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._kept: OrderedDict[Code, str | None] = OrderedDict()

    def highlight(self, blocks: Sequence[Code]) -> list[str | None]:
        """Each block's HTML. None for what stays plain: of a language that is not known, too long, or too slow."""
        total = 0
        wanted: list[Code] = []
        for block in blocks:
            if block.language and block.text and len(block.text) <= MAX_CODE and total + len(block.text) <= MAX_TOTAL:
                total += len(block.text)
                wanted.append(block)
        if not wanted:
            return [None] * len(blocks)
        if not self._lock.acquire(timeout=TIMEOUT):
            return [None] * len(blocks)
        try:
            missing = [block for block in dict.fromkeys(wanted) if block not in self._kept]
            if missing:
                for block, html in zip(missing, self._ask(missing), strict=True):
                    self._kept[block] = html
            chosen = set(wanted)
            found = [self._kept.get(block) if block in chosen else None for block in blocks]
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return found
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, blocks: Sequence[Code]) -> list[str | None]:
        try:
            answer: list[str | None] = json.loads(self._answer(json.dumps(blocks).encode() + b"\n"))
        except (OSError, ValueError):
            self._end()
            return [None] * len(blocks)
        return answer

    def _answer(self, request: bytes) -> bytes:
        """What the process says to it. Raises OSError when it says nothing."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request)
        process.stdin.flush()
        received = bytearray()
        deadline = time.monotonic() + TIMEOUT
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not received.endswith(b"\n"):
                if not selector.select(deadline - time.monotonic()):
                    raise TimeoutError
                part = os.read(process.stdout.fileno(), 65536)
                if not part:
                    raise BrokenPipeError
                received += part
        return bytes(received)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            # Isolated, and without the environment: what highlights strangers' words needs no secrets.
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
            )
            self._owner = os.getpid()
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


highlighter = Highlighter()
"""Of this process."""
