"""Ports and URLs: what is free, and what to show."""

import errno
import socket

from cli.console import fail
from cli.port_holder import port_holder
from core.text.host_names import is_loopback


def check_port(host: str, port: int, variable: str, address_variable: str) -> None:
    """Raise CommandError that names the environment's variable, of the port or of the address, when nothing can
    listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                holder = port_holder(port)
                by = f" by {holder}" if holder else ""
                remedy = f"stop that, or set {variable} to a free one"
                fail(f"{variable}={port}: port {port} on {host} is taken{by}; {remedy}")
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                fail(f"{address_variable}={host}: no address of this machine ({error.strerror}); 127.0.0.1 is one")
            fail(f"{variable}={port}: can't listen on {host} port {port}: {error.strerror}; set it to another")


def check_flower_guarded(address: str, guarded: bool) -> None:
    """Raise CommandError when Flower would tell whoever comes from elsewhere what the tasks are about."""
    if not (is_loopback(address) or guarded):
        fail(
            f"FLOWER_ADDRESS={address}: whoever reaches it could see the tasks; "
            "set FLOWER_BASIC_AUTH=user:password too, or leave it on 127.0.0.1 behind a proxy that asks for one"
        )


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def web_url(host: str, port: int) -> str:
    """Where a browser on this machine finds a server that listens on `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{reachable}:{port}"


def flower_url(address: str, port: int, url_prefix: str) -> str:
    """Where a browser on this machine finds Flower, which listens on `address`."""
    return web_url(address, port) + url_prefix
