"""A TCP connection to a real PostgreSQL that can be cut: then nothing passes, and nobody is told."""

import socket
import threading
from contextlib import suppress

from sqlalchemy import make_url

from tests.support.postgres import Postgres


class Cable:
    """Forwards a loopback port to the server's socket."""

    def __init__(self, server: Postgres, address: str = "127.0.0.1") -> None:
        self._server = server
        self._whole = threading.Event()
        self._whole.set()
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server((address, 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, database_url: str) -> str:
        """The URL of a database at the cable's other end."""
        host, port = self._listener.getsockname()
        url = make_url(database_url).set(host=host, port=port, query={})
        return url.render_as_string(hide_password=False)

    def cut(self) -> None:
        """Let nothing pass in either direction. New connections are taken, and get no answer either."""
        self._whole.clear()

    def mend(self) -> None:
        """Let everything pass again, what was sent meanwhile first."""
        self._whole.set()

    def lead_to(self, server: Postgres) -> None:
        """Let new connections reach another server."""
        self._server = server

    def close(self) -> None:
        """Leave no connection behind."""
        self.mend()
        for end in [self._listener, *self._ends]:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                try:
                    far.connect(str(self._server.socket))
                except OSError:  # the server is down
                    near.close()
                    far.close()
                    continue
                self._ends += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._whole.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
