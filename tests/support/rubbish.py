"""A server that answers everything with the same bytes, whatever they are."""

import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread


@contextmanager
def rubbish_server(answer: bytes) -> Iterator[int]:
    """Its port on 127.0.0.1."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(65536):
                self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


MALFORMED_ANSWERS = {
    "number": b":abc\r\n",
    "length": b"$zz\r\n",
    "count": b"*zz\r\n",
    "moved": b"-MOVED x\r\n",
    "deep": b"*1\r\n" * 5_000,
    "kind": b"?\r\n",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}
"""Answers that are none in Redis's protocol."""
