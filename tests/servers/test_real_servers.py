"""Answers by real models on real servers: the shipped one, and another with an engine and a wire of its own."""

import json
import re
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from core.llm.catalog import ModelCatalog
from core.llm.client_pool import ClientPool
from core.llm.model_config import ModelConfig
from core.llm.providers.base import Turn
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores.tables import Session
from tests.servers.real import CONTEXT, KEY, RealServer, dasllama, dasllama_path, llama_cpp, own_directory
from tests.support.reading import read_text
from tests.support.waiting import wait_for

SERVERS: dict[str, Callable[[Path], AbstractContextManager[RealServer]]] = {
    "llama.cpp": llama_cpp,
    "dasllama": dasllama,
}
TABLE = """
[models.{name}]
label = "{name}"
provider = "openai"
base_url = "{url}"
model = "{model}"
api_key_env = "{key}"
context_tokens = 8192
max_tokens = {longest}
temperature = 0.0
"""
"""It promises more context than there is, as tables do."""


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    """Each of them, for the whole module."""
    if request.param == "dasllama" and dasllama_path() is None:
        pytest.skip("the model server of tests/servers/requirements.lock is not installed: make .venv/.servers")
    with own_directory() as directory, SERVERS[request.param](directory) as started:
        yield started


@pytest.fixture
def models_path(server: RealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Models of the server, and some that are configured wrongly."""
    monkeypatch.setenv("RIGHT_KEY", KEY)
    monkeypatch.setenv("WRONG_KEY", "sk-of-somebody-else")
    tables = [
        TABLE.format(name=name, url=server.base_url, model=model, key=key, longest=longest)
        for name, model, key, longest in (
            ("good", server.model, "RIGHT_KEY", 40),
            ("talkative", server.model, "RIGHT_KEY", 900),
            ("wrong-name", "gpt-9-none", "RIGHT_KEY", 40),
            ("wrong-key", server.model, "WRONG_KEY", 40),
        )
    ]
    path = tmp_path / "models.toml"
    path.write_text("\n".join(['default = "good"', *tables]))
    return path


def _session(runtime: Runtime, model: str) -> Session:
    credential = Credential.issue()
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(
            db, session_id=credential.session_id, secret_hash=credential.secret_hash, model=model
        )


def _ask(runtime: Runtime, session: Session, question: str) -> dict[str, Any]:
    """The answer, as readers get it."""
    runtime.generations.accept(session, question)
    runtime.writer.run()
    return runtime.transcript.read(session).messages[-1].describe()


def _last_event(runtime: Runtime, session: Session) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(runtime.log.read(session.id, after=0).events[-1].data)
    return event


def test_questions_are_answered_and_tokens_counted(runtime: Runtime) -> None:
    session = _session(runtime, "good")
    for question in ("Say hello to Łódź.", "And now to 北京."):
        answer = _ask(runtime, session, question)
        assert (answer["state"], answer["problem"]) == ("complete", None)
        assert answer["finish_reason"] in ("stop", "length")
        assert answer["text"].strip()
        usage = _last_event(runtime, session)["usage"]
        assert 10 < usage["prompt_tokens"] < CONTEXT
        assert 0 < usage["completion_tokens"] <= 40


def test_a_stop_reaches_the_server(runtime: Runtime, server: RealServer) -> None:
    session = _session(runtime, "talkative")
    runtime.generations.accept(session, "Tell a very long story about a lighthouse.")
    thread = threading.Thread(target=runtime.writer.run)
    thread.start()
    wait_for(lambda: runtime.transcript.read(session).messages[-1].text, what="the story begins", seconds=30)
    runtime.generations.stop(session)
    stopped = time.monotonic()
    thread.join(10)
    assert time.monotonic() - stopped < 1
    message = runtime.transcript.read(session).messages[-1]
    assert (message.state, message.finish_reason) == ("stopped", "stopped")
    # It has one slot, and would need many seconds for the rest of the story.
    process = server.process
    wait_for(lambda: process.cpu_percent(0.2) < 20, what="the server rests", seconds=3)
    assert _ask(runtime, _session(runtime, "good"), "Thank you.")["state"] == "complete"


def test_a_conversation_that_grows_too_long_goes_on(runtime: Runtime) -> None:
    session = _session(runtime, "good")
    digits = "3141592653589793" * 12  # a byte a token
    for _ in range(3):
        assert _ask(runtime, session, digits)["state"] == "complete"


def test_a_question_that_is_too_long_says_so_with_figures_and_the_next_is_answered(runtime: Runtime) -> None:
    session = _session(runtime, "good")
    answer = _ask(runtime, session, "2718281828459045" * 50)
    assert answer["state"] == "failed"
    problem = answer["problem"]
    assert problem["reason"] == "too-long"
    assert problem["limit"] <= CONTEXT < problem["tokens"] < 1500
    assert _ask(runtime, session, "Hello?")["state"] == "complete"


@pytest.mark.parametrize("server", ["dasllama"], indirect=True)  # llama.cpp's server answers for any name
def test_a_wrong_name_is_told_as_such(runtime: Runtime) -> None:
    answer = _ask(runtime, _session(runtime, "wrong-name"), "Hello?")
    assert (answer["state"], answer["problem"]["reason"]) == ("failed", "model-not-found")


@pytest.mark.parametrize("server", ["llama.cpp"], indirect=True)  # dasLLAMA's server asks for no key
def test_a_wrong_key_is_told_as_such(runtime: Runtime) -> None:
    answer = _ask(runtime, _session(runtime, "wrong-key"), "Hello?")
    assert (answer["state"], answer["problem"]["reason"]) == ("failed", "unauthorized")


@pytest.mark.parametrize("server", ["llama.cpp"], indirect=True)  # the other one begins a new message
def test_an_answer_is_gone_on_with_as_if_it_had_never_stopped(
    server: RealServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIGHT_KEY", KEY)
    table = TABLE.format(name="m", url=server.base_url, model=server.model, key="RIGHT_KEY", longest=40)
    config = ModelConfig(**tomllib.loads(table)["models"]["m"], prefill=True)
    pool = ClientPool(ModelCatalog(default="m", models={"m": config}), "")
    question = Turn("user", "Name three fruits as a list.")

    def answer(*so_far: Turn) -> str:
        return read_text(pool.open("m", [question, *so_far]))

    whole = answer()
    blanks = [blank.span() for blank in re.finditer(r"\s+", whole.strip())]
    assert len(blanks) > 3
    for start, end in blanks[:6]:
        for cut in (start, end):
            rest = answer(Turn("assistant", whole[:cut]))
            word = whole[cut:end] + whole[end:].split()[0]
            assert rest.startswith(word), f"after {whole[:cut]!r}"
