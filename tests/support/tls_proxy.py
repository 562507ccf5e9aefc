"""TLS before a server on a Unix socket, since the Valkey of the wheel speaks none."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.certificate import certify


@contextmanager
def tls_before(target: Path, directory: Path) -> Iterator[tuple[int, Path]]:
    """The loopback port of a TLS server that passes everything on to `target`, and the certificate to trust."""
    key, certificate = directory / "tls.key", directory / "tls.pem"
    certify(key, certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, context, target), daemon=True).start()
        yield listener.getsockname()[1], certificate
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, context: ssl.SSLContext, target: Path) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, context, target), daemon=True).start()


def _serve(client: socket.socket, context: ssl.SSLContext, target: Path) -> None:
    # A client that does not trust the certificate is gone in the middle of the handshake.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as server:
        server.connect(str(target))
        with context.wrap_socket(client, server_side=True) as secure:
            answers = threading.Thread(target=_copy, args=(server, secure), daemon=True)
            answers.start()
            _copy(secure, server)
            server.shutdown(socket.SHUT_RDWR)
            answers.join(5)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
