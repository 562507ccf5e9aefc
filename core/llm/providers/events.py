"""What a model's server sends, cut into JSON events: pure, fed the body's bytes as they come.

Servers were asked for server-sent events (HTML Living Standard, 9.2). Some answer with one JSON document instead, or
with a web page; the first character tells which.
"""

import codecs
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from core.llm.providers.base import ErrorKind, ProviderError

MAX_EVENT = 4 * 1024 * 1024
"""Bytes of one event, or of one document, after decompression. A server that does not stream may send an answer of
the greatest length at once; nothing that a model says needs more."""
DONE = "[DONE]"
"""The data of OpenAI's last event, which is no JSON."""


class ProviderEvent(NamedTuple):
    """One event, or a whole document."""

    data: Any
    """The JSON; of an event named `error` also words that are none."""
    name: str = ""
    whole: bool = False
    """Whether this is all that the server says: one document where events were asked for."""


class EventReader:
    """The events of one response. Feeding it and ending it raise ProviderError for what is no answer at all."""

    def __init__(self) -> None:
        self._held = bytearray()
        """Of a line, or of a document, that has not come to its end."""
        self._searched = 0
        self._data = bytearray()
        self._size = 0
        """Bytes since the last event."""
        self._name = ""
        self._after_cr = False
        self._document: bool | None = None
        """Whether the body is one document; None while nothing has come that could tell."""

    def feed(self, piece: bytes) -> Iterator[ProviderEvent]:
        """The events that the piece completes."""
        self._held += piece
        if self._document is None and not self._has_begun():
            return
        if self._document:
            self._check(len(self._held))
            return
        for line in self._lines():
            yield from self._line(line)
        self._check(self._size + len(self._held))

    def end(self) -> Iterator[ProviderEvent]:
        """What is left when the body has ended. An event may lack its blank line."""
        if self._document:
            yield ProviderEvent(parsed(bytes(self._held)), whole=True)
            return
        if self._held:
            yield from self._line(bytes(self._held))
        yield from self._line(b"")

    def _has_begun(self) -> bool:
        if codecs.BOM_UTF8.startswith(self._held):
            return False
        if self._held.startswith(codecs.BOM_UTF8):
            del self._held[: len(codecs.BOM_UTF8)]
        begun = self._held.lstrip()
        if not begun:
            self._check(len(self._held))
            return False
        if begun.startswith(b"<"):
            raise ProviderError(ErrorKind.BROKEN_STREAM, "answered with a web page; is base_url right?")
        self._document = begun[0] in b"{["
        return True

    def _lines(self) -> Iterator[bytes]:
        """The lines that are whole. Each may end with LF, CR or both."""
        if self._after_cr and self._held:
            self._after_cr = False
            if self._held.startswith(b"\n"):
                del self._held[:1]
        fresh = self._held[self._searched :]
        if b"\n" not in fresh and b"\r" not in fresh:
            self._searched = len(self._held)
            return
        self._after_cr = self._held.endswith(b"\r")
        *lines, rest = bytes(self._held).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._held = bytearray(rest)
        self._searched = len(rest)
        yield from lines

    def _line(self, line: bytes) -> Iterator[ProviderEvent]:
        self._size += len(line) + 1
        self._check(self._size)
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            yield from self._event()
        elif field == b"event":
            self._name = value.decode(errors="replace").strip()
        elif field == b"data":
            first = not self._data
            self._data += value if first else b"\n" + value
            # Some servers leave the blank line out: what is whole by itself is an event.
            if first and (data := _by_itself(value)) is not None:
                yield ProviderEvent(data, self._name)
                self._begin_anew()

    def _event(self) -> Iterator[ProviderEvent]:
        text, name = bytes(self._data).strip(), self._name
        self._begin_anew()
        if text:
            yield ProviderEvent(parsed(text, name), name)

    def _begin_anew(self) -> None:
        self._data.clear()
        self._name, self._size = "", 0

    def _check(self, size: int) -> None:
        if size > MAX_EVENT:
            raise ProviderError(ErrorKind.BROKEN_STREAM, f"an event of more than {MAX_EVENT} bytes")


def parsed(text: bytes, name: str = "") -> Any:
    """The JSON, or the words of an event of this name when it tells an error without any. Raises ProviderError."""
    try:
        decoded = text.decode()
        try:
            return json.loads(decoded)
        except ValueError:
            # Python refuses to make an integer of thousands of digits; they are not worth an answer.
            return json.loads(decoded, parse_int=float)
    except (ValueError, RecursionError):
        if name == "error":
            return text.decode(errors="replace")
        # Not `from error`: its message and its object quote the server.
        raise ProviderError(ErrorKind.BROKEN_STREAM, "an event that is no JSON") from None


def _by_itself(line: bytes) -> Any:
    """The line's data if it is an object, or the last event; else None, and other lines may follow."""
    text = line.strip()
    if text == DONE.encode():
        return DONE
    try:
        return parsed(text) if text.startswith(b"{") else None
    except ProviderError:
        return None
