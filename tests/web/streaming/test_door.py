"""The door through which readers join: who may not hold it up, and what it must not be held shut by."""

import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.sessions.credential import Credential
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import WebProcess
from web.streaming.door import AT_ONCE, wait_for_turn

MANY = 200
"""Readers that come at once: many more than the door lets in together."""
PLACES = 20
"""Streams that one address may have open."""


@pytest.fixture
def web(tmp_path: Path, own_valkey: Valkey) -> Iterator[WebProcess]:
    process = WebProcess(
        tmp_path, own_valkey, SWITCHBOARD_STREAMS_SESSION="off", SWITCHBOARD_STREAMS_ADDRESS=str(PLACES)
    )
    yield process
    process.close()


def _ask(web: WebProcess, credential: Credential | str) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", web.port), 10)
    head = f"GET /chat/sse HTTP/1.1\r\nHost: localhost\r\nX-Session-ID: {credential}\r\n\r\n"
    stream.sendall(head.encode())
    return stream


def _status(stream: socket.socket) -> int:
    return int(stream.recv(4096).split()[1])


def _places_all_free(web: WebProcess, credential: Credential) -> bool:
    """Whether as many readers are let in as the address may have; they stay only to be counted."""
    streams = [_ask(web, credential) for _ in range(PLACES)]
    try:
        return [_status(stream) for stream in streams] == [200] * PLACES
    finally:
        for stream in streams:
            stream.close()


def test_those_who_leave_at_the_door_take_no_place(web: WebProcess) -> None:
    (credential,) = web.new_sessions(1)
    leaving = [_ask(web, credential) for _ in range(MANY)]
    for stream in leaving:  # at once, and with a reset, as when a laptop is closed
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()
    wait_for(lambda: _places_all_free(web, credential), what="the places are free again")
    assert "Traceback" not in web.log


def test_the_door_is_open_again_after_those_who_are_refused(web: WebProcess) -> None:
    (credential,) = web.new_sessions(1)
    with ThreadPoolExecutor(50) as threads:
        forged = list(threads.map(lambda _: _ask(web, Credential.issue()), range(MANY)))
        assert {_status(stream) for stream in forged} == {401}
    for stream in forged:
        stream.close()
    reader = _ask(web, credential)
    assert _status(reader) == 200
    reader.close()


def test_an_error_at_the_door_leaves_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(BaseException):
        """As gevent ends a greenlet, whatever it waits for."""

    def end(_: float) -> None:
        raise Ended

    with monkeypatch.context() as patched:
        patched.setattr("web.streaming.door.time.sleep", end)
        for _ in range(AT_ONCE + 1):
            with pytest.raises(Ended):
                wait_for_turn()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(wait_for_turn).result(10)
