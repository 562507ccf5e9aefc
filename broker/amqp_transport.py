"""kombu's AMQP transport, with an end to every wait: for a connection, a TLS handshake, an answer, a confirmation.

py-amqp has its timeouts in the kernel, where gevent's sockets do not see them, and under other names than the Redis
transport. Here `socket_timeout` and `socket_connect_timeout` mean the same for both.

A broker that refuses, takes no messages or has lost a queue is one that is away, as it is for the Redis transport: a
password that is being changed, an alarm and a queue pass or come back. To py-amqp each is an error of another kind,
of which kombu and Celery let some end the process, try others again without a pause, and never see the rest.
"""

from typing import Any, NoReturn

from amqp import spec, transport
from amqp.exceptions import Blocked, ChannelError, NotFound, RecoverableConnectionError
from amqp.exceptions import ConnectionError as AMQPConnectionError
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


class Refused(RecoverableConnectionError):
    """The broker did not let anybody in. `__cause__` is its own error."""


class Unroutable(RecoverableConnectionError):
    """The exchange, or the queue, is not there any more. On the next connection both are declared anew."""


class Channel(pyamqp.Channel):
    """A channel that leaves a broker which does not answer, and finds that a queue is gone."""

    def wait(self, *args: Any, **options: Any) -> Any:
        """Wait for an answer. Raises TimeoutError, and the connection is closed then: what would still come on it
        would be taken for the answer to the next question."""
        try:
            return super().wait(*args, **options)
        except TimeoutError:
            if self.connection is not None:
                self.connection.collect()
            raise

    def _on_basic_return(self, reply_code: int, reply_text: str, exchange: str, *_: Any) -> NoReturn:
        self._leave(f"{reply_text}: exchange {exchange}", reply_code)

    def _on_close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        if (class_id, method_id) == spec.Basic.Publish and reply_code == NotFound.code:
            self._leave(reply_text, reply_code)
        super()._on_close(reply_code, reply_text, class_id, method_id)

    def _leave(self, reply_text: str, reply_code: int) -> NoReturn:
        """Give the connection up, with what it believes to have declared and with the confirmation to come."""
        if self.connection is not None:
            self.connection.collect()
        raise Unroutable(reply_text, reply_code=reply_code)


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

    def connect(self, callback: Any = None) -> Any:
        """Connect. Raises Refused for a user, a password or a virtual host that the broker does not take."""
        try:
            return super().connect(callback)
        except (AMQPConnectionError, ChannelError) as error:
            self.collect()
            raise Refused(error.reply_text, error.method_sig, error.method_name, error.reply_code) from error

    def _on_blocked(self) -> NoReturn:
        # Nothing that is sent on this connection is read any more, and its messages are not confirmed.
        self.collect()
        raise Blocked("the broker takes no messages: its memory or disk is short")

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
