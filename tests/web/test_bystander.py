"""What one visitor's conversation costs another visitor, in a real web process."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from core.conversation.keys import keys
from core.conversation.message import Message
from core.sessions.credential import Credential
from tests.conftest import SOME_ID
from tests.support.valkey import Valkey
from tests.support.web_process import WebProcess
from tests.web.api.test_messages import WIDE

pytestmark = pytest.mark.timing

READS = 100
UNLIMITED = {"SWITCHBOARD_LIMIT_READ": "off", "SWITCHBOARD_LIMIT_EXPORT": "off"}
"""What is measured is reading itself, not its rate."""
MANY = 20
"""Clients that read one conversation at once."""
LARGEST = "<" * 1_000_000
"""As long as an answer may be, of what HTML writes with four characters."""


def _get(web: WebProcess, path: str, credential: Credential) -> bytes:
    request = Request(web.url + path, headers={"X-Session-ID": str(credential)})
    with urlopen(request, timeout=10) as response:
        body: bytes = response.read()
    return body


def test_a_costly_conversation_is_read_beside_others(own_valkey: Valkey, tmp_path: Path) -> None:
    web = WebProcess(tmp_path, own_valkey, **UNLIMITED)
    try:
        reader, bystander = web.new_sessions(2)
        texts = [WIDE] * 30 + ["| a " * 2000 + "\n" + "|-" * 2000 + "\n" + "[" * 50_000, "&" * 400_000]
        words = [Message(f"{n}", "assistant", text, "m", "complete", "") for n, text in enumerate(texts)]
        own_valkey.client().rpush(keys(reader.session_id)[3], *(word.dump() for word in words))
        _get(web, "/session/current", bystander)  # what a process does once

        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                _get(web, "/session/messages", reader)
                _get(web, "/session/export", reader)

        reading = threading.Thread(target=read)
        reading.start()
        took = []
        for _ in range(READS):
            before = time.monotonic()
            _get(web, "/session/current", bystander)
            took.append(time.monotonic() - before)
        done.set()
        reading.join()
        assert sorted(took)[READS * 95 // 100] < 0.2, "a second each, when answers were rendered on the way"
        assert max(took) < 1
    finally:
        web.close()


def test_the_largest_answer_is_read_by_many_beside_others(own_valkey: Valkey, tmp_path: Path) -> None:
    web = WebProcess(tmp_path, own_valkey, **UNLIMITED)
    try:
        reader, bystander = web.new_sessions(2)
        word = Message(SOME_ID, "assistant", LARGEST, "m", "complete", "2026-01-01T00:00:00Z")
        own_valkey.client().rpush(keys(reader.session_id)[3], word.dump())
        told = _get(web, "/session/messages", reader)
        assert json.loads(told)["messages"][0]["text"] == LARGEST
        assert len(told) < 1_100_000, "five bytes a character, when HTML was made of it"
        _get(web, "/session/current", bystander)

        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                assert len(_get(web, "/session/messages", reader)) == len(told)

        with ThreadPoolExecutor(MANY) as readers:
            reading = [readers.submit(read) for _ in range(MANY)]
            took = []
            for _ in range(READS):
                before = time.monotonic()
                _get(web, "/healthz", bystander)
                took.append(time.monotonic() - before)
            done.set()
            for each in reading:
                each.result()
        assert sorted(took)[READS * 95 // 100] < 0.2, f"{max(took):.2f} s"
        assert max(took) < 1
    finally:
        web.close()
