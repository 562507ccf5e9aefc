"""A process of a benchmark, and the pipe on which it is told what to do."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 300.0
"""Seconds that a child may take for one answer."""


class Child:
    """The near end of the pipe."""

    def __init__(self, connection: Any, pid: int) -> None:
        self._connection = connection
        self.pid = pid

    def send(self, message: object) -> None:
        """Tell it something."""
        self._connection.send(message)

    def receive(self) -> Any:
        """What it says. Raises TimeoutError, or EOFError when it has ended."""
        if not self._connection.poll(PATIENCE):
            raise TimeoutError(f"no answer within {PATIENCE} s")
        return self._connection.recv()


@contextmanager
def child(target: Callable[..., None], *arguments: object) -> Iterator[Child]:
    """A new process that runs `target` with the pipe's far end and the arguments, for as long as the block lasts."""
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    process = context.Process(target=target, args=(far, *arguments), daemon=True)
    process.start()
    far.close()
    try:
        assert process.pid is not None
        yield Child(near, process.pid)
    finally:
        process.kill()
        process.join()
