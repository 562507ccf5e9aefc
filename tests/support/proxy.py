"""A real proxy: HTTP (CONNECT, and requests for whole URLs) and SOCKS5, which sends everybody to one address."""

import socket
import socketserver
import ssl
import struct
import threading
from contextlib import suppress


class Proxy:
    """The proxy. It remembers whom it was asked for, and by whom."""

    def __init__(self, target: tuple[str, int], *, refuse: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[str] = []
        """Hosts and ports."""
        self.users: list[str] = []
        """What it was shown of a name and a password."""
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(OSError, IndexError, struct.error):
                    first = self.rfile.read(1)
                    if first == b"\x05":
                        proxy._socks(self)
                    else:
                        proxy._http(self, first)

        self.target, self.refuses = target, refuse
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def _http(self, client: socketserver.StreamRequestHandler, first: bytes) -> None:
        line = first + client.rfile.readline()
        method, url, _ = line.decode().split()
        self.asked.append(url)
        head = [line]
        while (header := client.rfile.readline()) not in (b"\r\n", b""):
            head.append(header)
            if header.lower().startswith(b"proxy-authorization:"):
                self.users.append(header.decode().split()[-1])
        if self.refuses:
            client.wfile.write(b"HTTP/1.1 407 Proxy says sk-secret\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(self.target) as server:
            if method == "CONNECT":
                client.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                server.sendall(b"".join(head) + b"\r\n")
            self._join(client, server)

    def _socks(self, client: socketserver.StreamRequestHandler) -> None:
        methods = client.rfile.read(client.rfile.read(1)[0])
        if b"\x02" in methods:
            client.wfile.write(b"\x05\x02")
            client.rfile.read(1)
            name, word = (client.rfile.read(client.rfile.read(1)[0]).decode() for _ in range(2))
            self.users.append(f"{name}:{word}")
            client.wfile.write(b"\x01\x00")
        else:
            client.wfile.write(b"\x05\x00")
        kind = client.rfile.read(4)[3]
        host = (
            client.rfile.read(client.rfile.read(1)[0]).decode()
            if kind == 3
            else socket.inet_ntoa(client.rfile.read(4))
        )
        (port,) = struct.unpack(">H", client.rfile.read(2))
        self.asked.append(f"{host}:{port}")
        client.wfile.write(b"\x05" + (b"\x02" if self.refuses else b"\x00") + b"\x00\x01" + bytes(6))
        if not self.refuses:
            with socket.create_connection(self.target) as server:
                self._join(client, server)

    def _join(self, client: socketserver.StreamRequestHandler, server: socket.socket) -> None:
        def back() -> None:
            with suppress(OSError):
                while received := server.recv(65536):
                    client.wfile.write(received)
                client.connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=back, daemon=True).start()
        try:
            while received := client.rfile.read1(65536):
                server.sendall(received)
        finally:
            # Closing a socket does not wake the thread that reads from it, and until then the server hears nothing.
            server.shutdown(socket.SHUT_RDWR)
