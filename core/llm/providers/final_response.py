"""A response before which only a few others may come.

HTTP lets a server send any number of informational responses (1xx, RFC 9110, section 15.2) before the one that
answers. aiohttp reads past all of them, without a pause for other tasks as long as more of them are there: a server
that sends nothing else would hold up every answer of the process.
"""

from typing import Any

import aiohttp
from aiohttp.connector import Connection

MAX_INFORMATIONAL = 20
"""Responses before the one that answers."""


class FinalResponse(aiohttp.ClientResponse):
    """The response that answers. `start` raises ClientResponseError when too many others come before it."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read to its head."""
        protocol = connection.protocol
        assert protocol is not None
        read, seen = protocol.read, 0

        async def read_bounded() -> Any:
            nonlocal seen
            seen += 1
            if seen > MAX_INFORMATIONAL + 1:
                raise aiohttp.ClientResponseError(self.request_info, self.history, message="no response but 1xx")
            return await read()

        protocol.read = read_bounded  # type: ignore[method-assign]
        try:
            return await super().start(connection)
        finally:
            protocol.read = read  # type: ignore[method-assign]
