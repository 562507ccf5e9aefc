"""kombu's AMQP transport, with an end to every wait: for a connection, a TLS handshake, an answer, a confirmation.

py-amqp has its timeouts in the kernel, where gevent's sockets do not see them, and under other names than the Redis
transport. Here `socket_timeout` and `socket_connect_timeout` mean the same for both.
"""

from typing import Any

from amqp import transport
from kombu.transport import pyamqp


class _Bounded:
    """A socket whose reads and writes end after the timeout, unless their caller has another."""

    sock: Any
    read_timeout: float | None

    def _setup_transport(self) -> None:
        super()._setup_transport()  # type: ignore[misc]
        self.sock.settimeout(self.read_timeout)  # a TLS handshake has had the time to connect


class TCPTransport(_Bounded, transport.TCPTransport):
    """A bounded connection over TCP."""


class SSLTransport(_Bounded, transport.SSLTransport):
    """A bounded connection over TLS."""


class Channel(pyamqp.Channel):
    """A channel that leaves a broker which does not answer."""

    def wait(self, *args: Any, **options: Any) -> Any:
        """Wait for an answer. Raises TimeoutError, and the connection is closed then: what would still come on it
        would be taken for the answer to the next question."""
        try:
            return super().wait(*args, **options)
        except TimeoutError:
            if self.connection is not None:
                self.connection.collect()
            raise


class Connection(pyamqp.Connection):
    """A connection to an AMQP broker."""

    Channel = Channel

    def __init__(
        self,
        *args: Any,
        connect_timeout: float | None = None,
        socket_timeout: float | None = None,
        socket_connect_timeout: float | None = None,
        confirm_publish: bool = True,
        **options: Any,
    ) -> None:
        """`socket_timeout`: seconds that each answer may take; `socket_connect_timeout`: to reach the broker. Unless
        publications are confirmed, what the broker refuses or loses would count as sent."""
        super().__init__(
            *args,
            connect_timeout=socket_connect_timeout or connect_timeout,
            read_timeout=socket_timeout,
            write_timeout=socket_timeout,
            confirm_publish=confirm_publish,
            **options,
        )

    def Transport(self, host: str, connect_timeout: float, ssl: Any = False, *args: Any, **options: Any) -> Any:  # noqa: N802
        """The socket, not connected yet."""
        bounded = SSLTransport if ssl else TCPTransport
        more = {"ssl": ssl} if ssl else {}
        read_timeout, write_timeout = args
        return bounded(
            host, connect_timeout, read_timeout=read_timeout, write_timeout=write_timeout, **more, **options
        )


class Transport(pyamqp.Transport):
    """For `amqp://`."""

    Connection = Connection


class SecureTransport(pyamqp.SSLTransport):
    """For `amqps://`, whose server is verified, and its name as well."""

    Connection = Connection

    def __init__(self, client: Any, **options: Any) -> None:
        client.ssl = client.ssl or {"server_hostname": None}  # which kombu fills in for each server
        super().__init__(client, **options)
