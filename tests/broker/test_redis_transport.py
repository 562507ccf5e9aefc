"""A broker that speaks another protocol, and what lies in it that is no message."""

import logging

import pytest
from celery import Celery
from kombu.common import ignore_errors
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError

from broker.queue_length import queue_length
from broker.redis_transport import Channel, Message
from celery_config import TaskNames
from core.errors import Unavailable
from core.messaging.replies import Replies
from tests.support.rubbish import MALFORMED_ANSWERS, rubbish_server
from tests.support.valkey import Valkey
from web.commands import Commands, new_sender
from web.streaming.hub import Hub


@pytest.mark.parametrize("answer", MALFORMED_ANSWERS.values(), ids=MALFORMED_ANSWERS)
def test_a_broker_of_another_protocol_is_unavailable(valkey: Valkey, answer: bytes) -> None:
    with rubbish_server(answer) as port:
        url = f"redis://127.0.0.1:{port}/0"
        sender = Commands(new_sender(url), Hub(valkey.client()), Replies(valkey.client()))
        with pytest.raises(Unavailable):
            sender._send(TaskNames.GENERATE, ["id"])
        with Connection(url) as connection, pytest.raises(OperationalError):
            queue_length(connection, "sessions")


@pytest.mark.parametrize("kept", [b"nope", b"null", b"[1]", b"[" * 200_000, b"\xff"])
def test_what_is_kept_unacknowledged_and_is_no_message_holds_up_no_other(
    own_valkey: Valkey, kept: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    redis = own_valkey.client()
    with _connection(own_valkey) as connection:
        channel = connection.default_channel
        assert isinstance(channel, Channel)
        producer, queue = connection.Producer(), connection.SimpleQueue("lost")
        producer.publish({"n": 1}, routing_key="lost", serializer="json")
        taken = channel.basic_get("lost")
        assert taken is not None
        redis.hset(channel.unacked_key, "rubbish", kept)
        redis.zadd(channel.unacked_index_key, {"rubbish": 2, taken.delivery_tag: 1})
        with caplog.at_level(logging.ERROR):
            channel.qos.restore_visible(num=1, interval=1)
            channel.qos.restore_visible(num=1, interval=1)
        assert redis.hlen(channel.unacked_key) == redis.zcard(channel.unacked_index_key) == 0
        assert queue.get(block=False).payload == {"n": 1}
        (record,) = caplog.records
        assert record.exc_info is None
        queue.close()


def test_a_connection_that_is_lost_with_a_message_in_hand_can_be_closed(own_valkey: Valkey) -> None:
    with _connection(own_valkey) as connection:
        taken: list[Message] = []
        connection.SimpleQueue("lost").put({"n": 1}, serializer="json")
        channel = connection.default_channel
        Queue("broadcast", Exchange("broadcast", "fanout"), auto_delete=True)(channel).declare()
        channel.basic_qos(0, 2, False)  # it goes on asking for messages
        channel.basic_consume("lost", no_ack=False, callback=taken.append, consumer_tag="1")
        channel.basic_consume("broadcast", no_ack=True, callback=taken.append, consumer_tag="2")
        with pytest.raises(TimeoutError):
            while True:
                connection.drain_events(timeout=0.5 if taken else 5)

        own_valkey.stop()
        connection.collect(socket_timeout=1)  # what Celery's consumer does then,
        own_valkey.start()
        ignore_errors(connection, connection.close)  # and then

        assert taken


def test_of_a_message_of_the_wrong_shape_is_kept_what_can_be_read() -> None:
    headers = {"id": "1", "commands": [["1", "2", "3"]]}
    message = Message({"headers": headers, "properties": {"reply_to": "channel", "priority": {}, "x": "\ud800"}})
    assert message.errors
    assert (message.headers, message.properties) == (headers, {"reply_to": "channel"})
    assert message.body is None


def _connection(valkey: Valkey) -> Connection:
    broker = valkey.url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
    connection: Connection = Celery("tests", set_as_current=False, broker=broker).connection_for_write()
    return connection
