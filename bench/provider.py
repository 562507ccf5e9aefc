"""A model server that is not what is measured: it speaks the OpenAI protocol, and every piece is one token.

Asked to go on with an answer (its last message is the assistant's), it does, as llama.cpp and vLLM do.
"""

import asyncio
import json
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

import uvloop

LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
BEFORE = b'data: {"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk",'
BEFORE += b'"created":1741569952,"model":"bench","choices":[{"index":0,"delta":{"content":"'
AFTER = b'"},"finish_reason":null}]}\n\n'
PACED = re.compile(r"(\d{4})\.(\d{19})")
"""A token that is paced: its number, and when it was sent, in nanoseconds of the machine's monotonic clock."""
TOKEN_LENGTH = 25
"""Characters of such a token, with the space after it."""


@dataclass(frozen=True)
class Manner:
    """How a model answers. On the wire, and in models.toml, it is the model's name."""

    tokens: int
    rate: int = 0
    """Tokens a second; 0 is as fast as they go. Those that are paced have the time at which they were sent."""

    def __str__(self) -> str:
        return f"{self.tokens}-{self.rate}"

    @classmethod
    def parse(cls, name: str) -> "Manner":
        """The reverse of `str`."""
        tokens, _, rate = name.partition("-")
        return cls(int(tokens), int(rate))

    def is_whole(self, text: str) -> bool:
        """Whether this is the answer: every token is another, so that none can be lost or doubled unseen."""
        if not self.rate:
            return text == "".join(_token(number) for number in range(self.tokens))
        return [int(number) for number, _ in PACED.findall(text)] == list(range(self.tokens))


def read_raw(port: int, manner: Manner, streams: int) -> float:
    """Tokens a second that the server has for readers that only count bytes."""
    wanted = len(_whole(manner))
    request = _request(manner)
    began = time.monotonic()
    connections = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(streams)]
    for connection in connections:
        connection.sendall(request)
    block = bytearray(1 << 18)
    for connection in connections:
        left = wanted
        while left > 0:
            got = connection.recv_into(block)
            if not got:
                raise ConnectionError("the provider has closed the connection")
            left -= got
        connection.close()
    return streams * manner.tokens / (time.monotonic() - began)


def run(control: Connection) -> None:
    """The process: sends its port, and serves until it is killed. Whatever it is sent, it answers with the number of
    requests that it has been asked so far: those that a provider would bill."""
    uvloop.run(_Server(control).serve())


class _Server:
    def __init__(self, control: Connection) -> None:
        self._control = control
        self._requests = 0

    async def serve(self) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=1000)
        asyncio.get_running_loop().add_reader(self._control.fileno(), self._count)
        self._control.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    def _count(self) -> None:
        self._control.recv()
        self._control.send(self._requests)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = LENGTH.search(head)
                if length is None:  # a look at which models there are
                    writer.write(NOT_FOUND)
                    continue
                body = json.loads(await reader.readexactly(int(length[1])))
                self._requests += 1
                manner = Manner.parse(body["model"])
                if manner.rate:
                    await _pace(manner, _begun(body), writer)
                else:
                    writer.write(_whole(manner))
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def _begun(body: Mapping[str, Any]) -> int:
    """How many tokens there are of the answer that is to be gone on with."""
    last = body.get("messages", [{}])[-1]
    return len(PACED.findall(str(last["content"]))) if last.get("role") == "assistant" else 0


async def _pace(manner: Manner, begun: int, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    began = time.monotonic()
    for number in range(begun, manner.tokens):
        await asyncio.sleep(began + (number - begun) / manner.rate - time.monotonic())
        if writer.is_closing():
            raise ConnectionError("the reader has gone")
        writer.write(_piece(f"{number:04}.{time.monotonic_ns():019} "))
        await writer.drain()
    writer.write(_end(manner))
    await writer.drain()


@cache
def _whole(manner: Manner) -> bytes:
    pieces = [_piece(_token(number)) for number in range(manner.tokens)]
    return b"".join([HEAD, *pieces, _end(manner)])


def _token(number: int) -> str:
    return f"{number:04} "


def _piece(text: str) -> bytes:
    return _chunk(BEFORE + text.encode() + AFTER)


def _end(manner: Manner) -> bytes:
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1741569952, "model": "bench"}
    usage = {"prompt_tokens": 9, "completion_tokens": manner.tokens, "total_tokens": 9 + manner.tokens}
    finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    told = [json.dumps({**common, **finish}), json.dumps({**common, "choices": [], "usage": usage}), "[DONE]"]
    return b"".join(_chunk(f"data: {line}\n\n".encode()) for line in told) + _chunk(b"")


def _chunk(body: bytes) -> bytes:
    """One HTTP chunk (RFC 9112, 7.1)."""
    return b"%x\r\n%s\r\n" % (len(body), body)


def _request(manner: Manner) -> bytes:
    body = json.dumps({"model": str(manner)}).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )
