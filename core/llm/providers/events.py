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
_DONE = DONE.encode()


class ProviderEvent(NamedTuple):
    """One event, or a whole document."""

    data: Any
    """The JSON; of an event named `error` also words that are none."""
    name: str = ""
    whole: bool = False
    """Whether this is all that the server says: one document where events were asked for."""

    @property
    def is_padding(self) -> bool:
        """Whether it says nothing: gateways put a JSON null, or an empty list, between the events of an answer."""
        return not (isinstance(self.data, dict) or self.whole or self.data == DONE)


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
            if event := self._line(line):
                yield event
        self._check(self._size + len(self._held))

    def end(self) -> Iterator[ProviderEvent]:
        """What is left when the body has ended. An event may lack its blank line."""
        if self._document:
            yield ProviderEvent(parsed(bytes(self._held)), whole=True)
            return
        for line in (bytes(self._held), b""):
            if event := self._line(line):
                yield event

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

    def _lines(self) -> list[bytes]:
        """The lines that are whole. Each may end with LF, CR or both."""
        if self._after_cr and self._held:
            self._after_cr = False
            if self._held.startswith(b"\n"):
                del self._held[:1]
        if self._held.find(b"\n", self._searched) < 0 and self._held.find(b"\r", self._searched) < 0:
            self._searched = len(self._held)
            return []
        text = bytes(self._held)
        if b"\r" in text:
            self._after_cr = text.endswith(b"\r")
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._held[:] = rest
        self._searched = len(rest)
        return lines

    def _line(self, line: bytes) -> ProviderEvent | None:
        """The event that the line completes, if it does."""
        if not line:
            return self._event()
        self._size += len(line) + 1
        self._check(self._size)
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            self._name = value.decode(errors="replace").strip()
        elif field == b"data":
            # Some servers leave the blank line out: what is whole by itself is an event.
            if not self._data and (data := _by_itself(value)) is not None:
                return ProviderEvent(data, self._begin_anew())
            self._data += b"\n" + value if self._data else value
        return None

    def _event(self) -> ProviderEvent | None:
        text = bytes(self._data).strip()
        name = self._begin_anew()
        return ProviderEvent(parsed(text, name), name) if text else None

    def _begin_anew(self) -> str:
        """The name of the event that has ended."""
        name, self._name, self._size = self._name, "", 0
        self._data.clear()
        return name

    def _check(self, size: int) -> None:
        if size > MAX_EVENT:
            raise ProviderError(ErrorKind.BROKEN_STREAM, f"an event of more than {MAX_EVENT} bytes")


def parsed(text: bytes, name: str = "") -> Any:
    """The JSON, or the words of an event of this name when it tells an error without any. Raises ProviderError.

    Models write byte by byte, and gateways cut texts: bytes that are no character become U+FFFD.
    """
    decoded = text.decode(errors="replace")
    try:
        try:
            return json.loads(decoded)
        except ValueError:
            # Python refuses to make an integer of thousands of digits; they are not worth an answer.
            return json.loads(decoded, parse_int=float)
    except (ValueError, RecursionError):
        if name == "error":
            return decoded
        # Not `from error`: its message and its object quote the server.
        raise ProviderError(ErrorKind.BROKEN_STREAM, "an event that is no JSON") from None


def _by_itself(line: bytes) -> Any:
    """The line's data if it is an object, or the last event; else None, and other lines may follow."""
    text = line.strip()
    try:
        return parsed(text) if text.startswith(b"{") else DONE if text == _DONE else None
    except ProviderError:
        return None
