"""A broker that is no Redis, and can't be used: what the operator is told."""

import http.server
import socket
import threading

from core.operations.preflight.stores import find_mistakes
from workers.brokers import broker_checks


def line(url: str) -> str:
    (mistake,) = find_mistakes(broker_checks("BROKER_URL", url))
    assert "hunter2" not in str(mistake)
    return str(mistake)


def test_one_that_can_not_be_used_is_named() -> None:
    address = "amqp://user:hunter2@127.0.0.1"
    assert line(f"{address}:1//") == (
        "BROKER_URL=amqp://user:***@127.0.0.1:1//: nothing listens there; start it, or correct the address"
    )
    assert "no address is known for its host; correct the name" in line("amqp://user:hunter2@queue.invalid//")
    assert "there is no such kind of broker; write redis:// or amqp://" in line("ampq://queue")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert "TLS fails (WRONG_VERSION_NUMBER)" in line(f"amqps://user:hunter2@127.0.0.1:{server.server_port}//")
        server.shutdown()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "no answer within 2 s; is it a RabbitMQ" in line(f"{address}:{silent.getsockname()[1]}//")


def test_a_redis_is_tried_elsewhere() -> None:
    assert broker_checks("BROKER_URL", "redis://queue") == {}
