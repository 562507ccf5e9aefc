"""A small, independent reader of server-sent events, after WHATWG HTML 9.2.6."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class ServerEvent(NamedTuple):
    """One dispatched event."""

    id: str
    type: str
    data: dict[str, Any]


def events(body: Iterable[bytes]) -> Iterator[ServerEvent]:
    """The events of a stream, as they come."""
    kind, last_id, rest = "message", "", ""
    data: list[str] = []
    for block in body:
        rest += block.decode()
        *lines, rest = rest.split("\n")
        for line in lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                if data:
                    yield ServerEvent(last_id, kind, json.loads("\n".join(data)))
                kind, data = "message", []
            elif name == "event":
                kind = value
            elif name == "data":
                data.append(value)
            elif name == "id":
                last_id = value
