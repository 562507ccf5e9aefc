"""kombu's Redis transport, which goes on where kombu's own lets the worker end: with a Redis that refuses or speaks
another protocol, and with a message of the wrong shape.

Everything that can write to the broker can put anything into a queue, and a message that ends one worker would end
the next one, too.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.message import Message as BaseMessage
from kombu.transport import redis, virtual
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from core.messaging.replies import sendable
from core.stores.redis import checked
from core.stores.redis_url import RedisServer
from core.stores.sentinel import connection_options
from core.stores.writable import ABSENT_KEY
from core.text.masking import MASK, masked

logger = logging.getLogger(__name__)

NOT_JSON = (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What kombu's JSON reader raises, which also makes dates, numbers and ids of it."""
MALFORMED = (*NOT_JSON, LookupError)
"""What reading JSON of the wrong shape raises."""


class Message(virtual.Message):
    """A message. One of the wrong shape has `errors`, for which kombu calls its consumer's on_decode_error; so that
    its commands can be answered, it has its headers, and those of its properties that are texts."""

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        try:
            super().__init__(payload, channel=channel, **options)
            self._require_texts()
        except MALFORMED:
            self.errors = [sys.exc_info()]
            self._raw: Any = {}
            BaseMessage.__init__(
                self,
                channel=channel,
                delivery_tag=str(uuid4()),
                delivery_info={"exchange": "", "routing_key": ""},
                headers=_mapping(payload, "headers"),
                properties={key: text for key, text in _mapping(payload, "properties").items() if _is_text(text)},
            )

    def _require_texts(self) -> None:
        """Raises TypeError or LookupError when what acknowledging and answering need is no text that can be sent."""
        needed = (self.delivery_tag, self.delivery_info["exchange"], self.delivery_info["routing_key"])
        if not all(_is_text(text) for text in (*needed, self.properties.get("reply_to") or "")):
            raise TypeError("not a text")


class QoS(redis.QoS):
    """The messages that are not acknowledged yet."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back into its queue, or drop it when it can't be read: it would hold up all others."""
        try:
            super().restore_by_tag(tag, client, leftmost)
        except NOT_JSON as error:
            logger.error("an unacknowledged message could not be decoded: %s", type(error).__name__)
            self._remove_from_indices(tag).execute()


class Channel(redis.Channel):
    """A channel to a Redis that takes writes. One that was demoted in a failover, or whose disk is full, answers and
    keeps nothing. Raises ResponseError."""

    Message = Message
    QoS = QoS
    _kept_client: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            self.client.delete(ABSENT_KEY)
        except ResponseError:
            self.close()
            raise

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """A client over the channel's pool. kombu makes a new one for each command, which takes longer than most of
        them."""
        if client is None:
            if self._kept_client is None or self._kept_client.connection_pool is not self.pool:
                self._kept_client = self._create_client()
            client = self._kept_client
        yield client

    def _get_pool(self, asynchronous: bool = False) -> Any:
        """A pool of connections. Raises ConnectionError when the transport is gone: a channel whose connection is
        lost is closed more than once, and kombu's own AttributeError would then end the worker."""
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("the connection is closed")
        return super()._get_pool(asynchronous)

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        parameters: dict[str, Any] = super()._connparams(asynchronous)
        return {**parameters, "connection_class": checked(parameters["connection_class"])}

    def _brpop_read(self, **options: Any) -> Any:
        """Take a message from a queue and deliver it; one that is no JSON is delivered as one of the wrong shape."""
        return self._deliver_or_report(lambda: super(Channel, self)._brpop_read(**options), self.active_queues)

    def _receive_one(self, client: Any) -> Any:
        """Take a broadcast message and deliver it, in the same way."""
        return self._deliver_or_report(lambda: super(Channel, self)._receive_one(client), self.active_fanout_queues)

    def _deliver_or_report(self, deliver: Callable[[], Any], queues: set[str]) -> Any:
        try:
            return deliver()
        except NOT_JSON:
            if not queues:
                raise Empty from None
            # Whichever queue it came from: all of this channel's are one consumer's.
            self.connection._deliver(None, next(iter(queues)))
            return True


class Transport(redis.Transport):
    """For which a Redis that refuses is one that is away: it is connected to anew, now and then, until it takes
    writes."""

    Channel = Channel
    connection_errors = (*redis.Transport.connection_errors, ResponseError)


class SentinelChannel(Channel):
    """A channel to the master behind Sentinel."""

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        options = connection_options(RedisServer.parse(self.connection.client.hostname))
        self.connection_class = options.pop("connection_class")
        return {**super()._connparams(asynchronous), **options}


class SentinelTransport(Transport):
    """For `sentinel://` and `sentinels://`, in the spelling of RedisServer."""

    Channel = SentinelChannel
    can_parse_url = True

    def as_uri(self, uri: str, include_password: bool = False, mask: str = MASK) -> str:
        """The URL, without its passwords unless they are asked for."""
        return uri if include_password else masked(uri)


def _mapping(payload: Any, name: str) -> dict[str, Any]:
    """A message's headers or properties, or none."""
    found = payload.get(name) if isinstance(payload, dict) else None
    return found if isinstance(found, dict) else {}


def _is_text(value: object) -> bool:
    """Whether it is a text that can be sent: JSON has also halves of characters."""
    return isinstance(value, str) and sendable(value) == value
