"""What is compared: a server that has the provider's answers streamed to readers."""

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.provider import Manner
from bench.rivals.clients import Client, Target
from bench.service import Service, memory
from tests.support.web_process import OPTIONS


@dataclass(frozen=True)
class Rival:
    """One that runs."""

    name: str
    client: type[Client]
    target: Target
    writer: Service | None
    """The process that asks the provider. None: the readers do."""
    others: Sequence[psutil.Process]
    """What it needs besides."""
    configuration: str
    """Versions and settings, in a line."""

    @property
    def memory(self) -> int:
        """Bytes that all of its processes have together."""
        return memory([*(self.writer.family() if self.writer else ()), *self.others])


@dataclass(frozen=True)
class Load:
    """What one is started for."""

    manner: Manner
    questions: int
    """In all."""
    at_once: int


Running = Callable[[Path, str, Load], AbstractContextManager[Rival]]
"""Starts one: in this directory, for the provider at this URL."""


@contextmanager
def served(name: str, command: Sequence[str], port: int, directory: Path, **environment: str) -> Iterator[Service]:
    """A process that takes connections on a port, once it answers there."""

    def answers() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), 2) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return connection.recv(64).startswith(b"HTTP/1.1 ")
        except OSError:
            return False

    inherited: Mapping[str, str] = {key: value for key, value in os.environ.items() if not OPTIONS.match(key)}
    log = directory / f"{name}.log"
    service = Service(command, answers, directory=directory, log=log, environment={**inherited, **environment})
    with closing(service):
        service.await_ready()
        yield service
