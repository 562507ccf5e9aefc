"""Several hosts on one machine: network namespaces, each with an address of its own, on a bridge."""

import secrets
import subprocess
from collections.abc import Sequence
from contextlib import suppress

import pytest


class Hosts:
    """The hosts, and the machine itself as one more (`here`). They can be cut off: then nothing passes, and nobody is
    told."""

    def __init__(self, *names: str) -> None:
        tag = secrets.token_hex(2)
        network = f"10.{100 + secrets.randbelow(100)}.{secrets.randbelow(250)}"
        self._bridge = f"sbb{tag}"
        self._names = {name: f"sb{tag}{number}" for number, name in enumerate(names)}
        self.here = f"{network}.1"
        self._addresses = {name: f"{network}.{number + 2}" for number, name in enumerate(names)}
        try:
            self._make()
        except (OSError, subprocess.CalledProcessError) as error:
            self.close()
            pytest.skip(f"network namespaces can't be made here: {error}")

    def address(self, name: str) -> str:
        """The host's address."""
        return self._addresses[name]

    def within(self, name: str) -> Sequence[str]:
        """A command that runs others on the host."""
        return ("ip", "netns", "exec", self._names[name])

    def cut(self, name: str) -> None:
        """Let nothing pass to the host, or from it."""
        _ip("link", "set", self._names[name], "down")

    def mend(self, name: str) -> None:
        """Let everything pass again."""
        _ip("link", "set", self._names[name], "up")

    def close(self) -> None:
        """Leave nothing behind."""
        for space in self._names.values():
            with suppress(OSError, subprocess.CalledProcessError):
                _ip("netns", "delete", space)
        with suppress(OSError, subprocess.CalledProcessError):
            _ip("link", "delete", self._bridge)

    def _make(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self.here}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for name, space in self._names.items():
            _ip("netns", "add", space)
            _ip("link", "add", space, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", space, "master", self._bridge, "up")
            _ip("-n", space, "address", "add", f"{self._addresses[name]}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
