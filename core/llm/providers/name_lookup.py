"""Looks names of servers up, each in a thread of its own: one that hangs holds up no other, nor a process's end."""

import asyncio
import socket
from contextlib import suppress
from threading import Thread

from aiohttp.abc import AbstractResolver, ResolveResult

NUMERIC_SOCKET = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
NUMERIC_NAME = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class Resolver(AbstractResolver):
    """What an aiohttp connector asks, once for all who wait for the same name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses. Raises OSError."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[ResolveResult] | Exception] = loop.create_future()

        def settle(result: list[ResolveResult] | Exception) -> None:
            if not found.done():
                found.set_result(result)

        def look_up() -> None:
            result = _addresses(host, port, family)
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(settle, result)

        Thread(target=look_up, name="name-lookup", daemon=True).start()
        if isinstance(result := await found, Exception):
            raise result
        return result

    async def close(self) -> None:
        """Nothing is kept."""


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult] | Exception:
    try:
        infos = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        return [
            ResolveResult(
                hostname=host,
                host=socket.getnameinfo(address, NUMERIC_NAME)[0],  # with its scope, if it has one
                port=port,
                family=kind,
                proto=protocol,
                flags=NUMERIC_SOCKET,
            )
            for kind, _, protocol, _, address in infos
        ]
    except (OSError, UnicodeError) as error:
        return error
