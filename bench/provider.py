"""A model server that is not what is measured: it speaks the OpenAI protocol, and every piece is one token."""

import asyncio
import json
import re
import socket
import time
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection

LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BEFORE = b'data: {"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk",'
BEFORE += b'"created":1741569952,"model":"bench","choices":[{"index":0,"delta":{"content":"'
AFTER = b'"},"finish_reason":null}]}\n\n'


@dataclass(frozen=True)
class Manner:
    """How a model answers. On the wire, and in models.toml, it is the model's name."""

    tokens: int
    rate: int = 0
    """Tokens a second; 0 is as fast as they go. Those that are paced tell when they were sent."""

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
        stamps = text.split(" ")
        return len(stamps) == self.tokens + 1 and stamps[-1] == "" and stamps[:-1] == sorted(set(stamps[:-1]))


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
    """The process: sends its port, and serves until it is killed."""
    asyncio.run(_serve(control))


async def _serve(control: Connection) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=1000)
    control.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = LENGTH.search(head)
            assert length is not None, head
            manner = Manner.parse(json.loads(await reader.readexactly(int(length[1])))["model"])
            if manner.rate:
                await _pace(manner, writer)
            else:
                writer.write(_whole(manner))
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _pace(manner: Manner, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    began = time.monotonic()
    for number in range(manner.tokens):
        await asyncio.sleep(began + number / manner.rate - time.monotonic())
        writer.write(_piece(f"{time.monotonic_ns():019} "))
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
