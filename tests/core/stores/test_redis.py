"""Redis that is away or refuses is RedisUnavailable, whatever was asked of it and however."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import RedisError

from core.errors import Unavailable
from core.stores.redis import (
    FEW_CONNECTIONS,
    AsyncScripts,
    Redis,
    RedisDamaged,
    RedisReadOnly,
    RedisUnavailable,
    RedisWritesRefused,
    ScriptCall,
    connect,
    translate_errors,
)
from core.stores.writable import require_writable
from tests.support.rubbish import MALFORMED_ANSWERS, rubbish_server
from tests.support.valkey import Valkey


def _subscribe(redis: Redis) -> object:
    redis.pubsub().subscribe("channel")
    return None


def _watch(redis: Redis) -> object:
    with redis.pipeline() as pipe:
        return pipe.watch("key")


def _pipeline(transaction: bool) -> Callable[[Redis], object]:
    def send(redis: Redis) -> object:
        with redis.pipeline(transaction=transaction) as pipe:
            pipe.incr("number")
            return pipe.execute()

    return send


def _script_in_pipeline(redis: Redis) -> object:
    script = redis.register_script("return redis.call('INCR', KEYS[1])")
    with redis.pipeline() as pipe:
        script(keys=["number"], client=pipe)
        return pipe.execute()


def _count(scripts: AsyncScripts, redis: Redis) -> Any:
    """What two calls of a script return, which go together on an event loop."""
    script = redis.register_script("return redis.call('INCR', KEYS[1])")

    async def run() -> list[Any]:
        try:
            return await scripts.run([ScriptCall(script, [key], []) for key in ("number", "other")])
        finally:
            await scripts.close()

    return asyncio.run(run())


def _together(redis: Redis) -> object:
    options = redis.connection_pool.connection_kwargs
    url = f"unix://{options['path']}" if "path" in options else f"redis://127.0.0.1:{options['port']}"
    answers = _count(AsyncScripts(url), redis)
    failed = [answer for answer in answers if isinstance(answer, RedisUnavailable)]
    if failed:
        raise failed[0]
    return answers


WAYS: dict[str, Callable[[Redis], object]] = {
    "command": lambda redis: redis.incr("number"),
    "iterator": lambda redis: list(redis.scan_iter("*")),
    "script": lambda redis: redis.register_script("return redis.call('INCR', KEYS[1])")(keys=["number"]),
    "script-in-pipeline": _script_in_pipeline,
    "scripts-on-a-loop": _together,
    "pipeline": _pipeline(transaction=False),
    "transaction": _pipeline(transaction=True),
    "watch": _watch,
    "publication": lambda redis: redis.publish("channel", "word"),
    "subscription": _subscribe,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_server_that_is_away_is_unavailable(way: Callable[[Redis], object]) -> None:
    with pytest.raises(RedisUnavailable) as raised:
        way(connect("redis://127.0.0.1:1"))
    assert isinstance(raised.value, Unavailable)
    assert isinstance(raised.value.cause, RedisError)
    assert (raised.value.status, raised.value.retry_after) == (503, 2)


@pytest.mark.parametrize("answer", MALFORMED_ANSWERS.values(), ids=MALFORMED_ANSWERS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_server_of_another_protocol_is_unavailable(way: Callable[[Redis], object], answer: bytes) -> None:
    with rubbish_server(answer) as port, pytest.raises(RedisUnavailable):
        way(connect(f"redis://127.0.0.1:{port}"))


def test_a_connection_that_a_malformed_answer_has_left_is_not_used_again(own_valkey: Valkey) -> None:
    redis = connect(own_valkey.url)
    connection = redis.connection_pool.get_connection()
    connection._parser.read_response = lambda **_: int("abc")
    redis.connection_pool.release(connection)
    with pytest.raises(RedisUnavailable):
        redis.ping()
    assert connection._sock is None


def test_a_value_that_is_no_text_is_read_all_the_same(own_valkey: Valkey) -> None:
    redis = connect(own_valkey.url)
    redis.set("value", b"a\xff")
    redis.hset("hash", "field", b"\xfeb")
    assert (redis.get("value"), redis.hgetall("hash")) == ("a\ufffd", {"field": "\ufffdb"})
    with redis.pipeline() as pipe:
        pipe.get("value")
        assert pipe.execute() == ["a\ufffd"]


@pytest.mark.parametrize(
    "way", ["command", "script", "script-in-pipeline", "scripts-on-a-loop", "pipeline", "transaction"]
)
def test_an_answer_that_is_an_error_is_unavailable(redis: Redis, way: str) -> None:
    redis.set("number", "none")
    with pytest.raises(RedisUnavailable):
        WAYS[way](redis)


@pytest.mark.parametrize("stands", ["text", "list"])
@pytest.mark.parametrize("way", ["command", "script", "script-in-pipeline", "pipeline", "transaction"])
def test_what_stands_in_a_key_is_told_apart_from_a_server_that_is_away(redis: Redis, way: str, stands: str) -> None:
    redis.set("number", "none") if stands == "text" else redis.rpush("number", "none")
    with pytest.raises(RedisDamaged) as raised:
        WAYS[way](redis)
    assert raised.value.retry_after is None


@pytest.mark.parametrize("way", ["command", "script", "script-in-pipeline", "pipeline", "transaction"])
def test_a_server_that_refuses_all_writes_is_away(own_valkey: Valkey, way: str) -> None:
    redis = connect(own_valkey.url)
    redis.config_set("min-replicas-to-write", 1)
    with pytest.raises(RedisUnavailable) as raised:
        WAYS[way](redis)
    assert not isinstance(raised.value, RedisDamaged)


@pytest.mark.parametrize("transaction", [False, True])
def test_of_commands_that_are_sent_together_each_has_its_answer(redis: Redis, transaction: bool) -> None:
    redis.set("text", "none")
    with redis.pipeline(transaction=transaction) as pipe:
        pipe.incr("number")
        pipe.llen("text")
        pipe.get("text")
        first, second, third = pipe.execute_each()
    assert (first, type(second), third) == (1, RedisDamaged, "none")


def test_commands_that_are_sent_together_to_a_server_that_refuses_them_are_unavailable(own_valkey: Valkey) -> None:
    redis = connect(own_valkey.url)
    redis.config_set("min-replicas-to-write", 1)
    with pytest.raises(RedisUnavailable), redis.pipeline(transaction=False) as pipe:
        pipe.incr("number")
        pipe.execute_each()


@pytest.mark.parametrize("way", ["command", "pipeline", "transaction", "scripts-on-a-loop"])
def test_a_server_that_was_demoted_is_told_apart(own_valkey: Valkey, way: str) -> None:
    redis = connect(own_valkey.url)
    redis.replicaof("127.0.0.1", 1)
    with pytest.raises(RedisReadOnly):
        WAYS[way](redis)


@pytest.mark.parametrize("way", ["command", "pipeline", "transaction", "scripts-on-a-loop"])
def test_a_server_that_is_full_says_so_until_it_is_not(own_valkey: Valkey, way: str) -> None:
    redis = connect(own_valkey.url)
    require_writable(redis)
    own_valkey.fill()
    for write in (WAYS[way], require_writable):
        with pytest.raises(RedisWritesRefused) as refused:
            write(redis)
        assert refused.value.reason == "this Redis is out of memory (its maxmemory), and takes no writes"
        assert refused.value.retry_after == 2
    own_valkey.empty()
    require_writable(redis)
    WAYS[way](redis)


def test_a_user_who_lacks_a_right_is_told_of_it(own_valkey: Valkey) -> None:
    rules = ("on", ">pw", "~*", "&*", "+@all", "-subscribe")
    connect(own_valkey.url).execute_command("ACL", "SETUSER", "app", *rules)
    pubsub = connect(own_valkey.url.replace("unix://", "unix://app:pw@")).pubsub()
    with pytest.raises(RedisUnavailable) as refused:
        pubsub.subscribe("channel")
        pubsub.get_message(timeout=5)
    assert refused.value.reason.startswith("the user of this Redis lacks a right: ")
    assert "'subscribe'" in refused.value.reason


def test_a_server_with_too_few_replicas_says_so(own_valkey: Valkey) -> None:
    redis = connect(own_valkey.url)
    redis.config_set("min-replicas-to-write", 1)
    with pytest.raises(RedisWritesRefused) as refused:
        require_writable(redis)
    assert "too few replicas" in refused.value.reason


def test_a_subscription_that_is_cut_is_unavailable(own_valkey: Valkey) -> None:
    pubsub = connect(own_valkey.url).pubsub()
    pubsub.subscribe("channel")
    assert pubsub.get_message(timeout=5)
    own_valkey.stop()
    with pytest.raises(RedisUnavailable):
        pubsub.get_message(timeout=5)


def test_a_script_that_the_server_has_forgotten_is_loaded_again(redis: Redis) -> None:
    script = redis.register_script("return redis.call('INCR', KEYS[1])")
    assert script(keys=["number"]) == 1
    redis.script_flush()
    assert script(keys=["number"]) == 2


def test_errors_of_other_clients_can_be_translated_and_others_pass() -> None:
    with pytest.raises(RedisUnavailable), translate_errors():
        raise RedisError
    with pytest.raises(KeyError), translate_errors():
        raise KeyError


def test_of_scripts_that_go_together_an_error_concerns_its_own(redis: Redis, valkey: Valkey) -> None:
    redis.set("number", "none")
    refused, counted = _count(AsyncScripts(valkey.url), redis)
    assert isinstance(refused, RedisUnavailable)
    assert "not an integer" in str(refused.cause)
    assert counted == 1


def test_scripts_on_a_loop_wait_for_a_silent_server_no_longer_than_they_may(redis: Redis) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(RedisUnavailable):
            _count(AsyncScripts(f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1, retries=1), redis)
        assert 0.2 <= time.monotonic() - began < 2


def test_many_threads_share_few_connections_and_wait_for_them(own_valkey: Valkey) -> None:
    redis = connect(own_valkey.url, queue_timeout=30)
    threads = [threading.Thread(target=redis.incr, args=("number",)) for _ in range(4 * FEW_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert redis.get("number") == str(len(threads))
    assert redis.info("clients")["connected_clients"] <= FEW_CONNECTIONS
