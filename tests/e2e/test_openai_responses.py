"""OpenAI's own clients over /v1/responses and /v1/conversations of a whole system, of which parts are killed."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import sseclient
from openai.types.responses import Response, ResponseStreamEvent
from uuid_utils.compat import uuid7

from tests.clients.node import NODE, require_packages
from tests.e2e.system import System, running
from tests.support.provider import ANSWER, STORY, ProviderServer
from tests.support.waiting import wait_for

PASSWORD = "correct horse battery"
EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = Path(__file__).parents[1] / "clients/plain"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, provider: ProviderServer) -> Path:
    """The models of the provider, which has time: that a silent one is given up is tested elsewhere."""
    path = tmp_path_factory.mktemp("models") / "models.toml"
    tables = (
        provider.models_toml().replace("_timeout = 0.6", "_timeout = 20").replace("_timeout = 1.0", "_timeout = 20")
    )
    tables = tables.replace('default = "good"', 'default = "story"')
    path.write_text(tables.replace("context_tokens = 600", "context_tokens = 9000"))
    return path


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[System]:
    """One for all of these tests."""
    limits = {f"SWITCHBOARD_LIMIT_{name}": "off" for name in ("MESSAGES_USER", "READ")}
    options = {"SWITCHBOARD_LEASE": "2s", **limits}
    state = tmp_path_factory.mktemp("responses") / "state"
    with running(state, SWITCHBOARD_MODELS=str(models), **options) as started:
        yield started


@pytest.fixture
def key(system: System) -> str:
    """A user's API key."""
    with httpx2.Client(base_url=system.base_url, trust_env=False, timeout=30) as browser:
        registered = browser.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD})
        registered.raise_for_status()
        made: str = browser.post("/auth/keys", json={"name": "test"}).raise_for_status().json()["key"]
        return made


@pytest.fixture
def client(system: System, key: str) -> Iterator[openai.OpenAI]:
    """OpenAI's client."""
    with _client(system, key) as made:
        yield made


def _client(system: System, key: str) -> openai.OpenAI:
    transport = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(
        base_url=f"{system.base_url}/v1", api_key=key, max_retries=0, timeout=60, http_client=transport
    )


def _resumed(client: openai.OpenAI, response_id: str, after: int | None) -> Iterator[ResponseStreamEvent]:
    more: dict[str, Any] = {} if after is None else {"starting_after": after}
    with client.responses.retrieve(response_id, stream=True, **more) as stream:
        yield from stream


def _text(events: list[ResponseStreamEvent]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def _read_on(
    client: openai.OpenAI, response_id: str, events: list[ResponseStreamEvent], seconds: float = 60.0
) -> list[ResponseStreamEvent]:
    """All events, by a client that comes back as often as it takes."""
    deadline = time.monotonic() + seconds
    while not events or events[-1].type != "response.completed":
        assert time.monotonic() < deadline
        after = events[-1].sequence_number if events else None
        try:
            for event in _resumed(client, response_id, after):
                events.append(event)
        except (openai.APIConnectionError, openai.InternalServerError):
            time.sleep(0.1)  # its pause before it comes back
    return events


def _whole(response: Response) -> None:
    assert (response.status, response.output_text) == ("completed", ANSWER)
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0


def test_a_response_is_whole_streamed_and_read_again(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"instructions": "Rhyme.", "metadata": {"a": "b"}, "max_output_tokens": 500}
    made = client.responses.create(model="good", input="Why?", **options)
    _whole(made)
    assert client.responses.retrieve(made.id) == made
    assert {name: getattr(made, name) for name in options} == options
    (question,) = client.responses.input_items.list(made.id)
    assert question.model_dump()["content"][0]["text"] == "Why?"
    with client.responses.stream(model="good", input=[{"role": "user", "content": "Why?"}]) as stream:
        told = list(stream)
        _whole(stream.get_final_response())
    assert [event.sequence_number for event in told] == list(range(len(told)))
    with client.responses.stream(response_id=made.id, starting_after=3) as stream:
        assert next(iter(stream)).sequence_number == 4
        _whole(stream.get_final_response())


def test_a_live_stream_that_is_cut_after_every_event_goes_on_exactly(client: openai.OpenAI) -> None:
    live = client.responses.create(model="story", input="Why?", background=True)
    events: list[ResponseStreamEvent] = []
    while not events or events[-1].type != "response.completed":
        after = events[-1].sequence_number if events else None
        events += islice(_resumed(client, live.id, after), 1)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert _text(events) == STORY
    # Now that it has ended, from every event once more.
    for at in range(-1, len(events)):
        rest = list(_resumed(client, live.id, at if at >= 0 else None))
        assert rest == events[at + 1 :]


def test_a_response_in_the_background_is_polled_and_another_is_cancelled(
    client: openai.OpenAI, system: System, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    polled = client.responses.create(model="story", input="Why?", background=True)
    assert polled.status in ("queued", "in_progress")
    system.until(lambda: client.responses.retrieve(polled.id).status == "completed")
    assert client.responses.retrieve(polled.id).output_text == STORY
    waiting = client.responses.create(model="paused", input="Why?", background=True)
    assert client.responses.cancel(waiting.id).status == "cancelled"
    assert client.responses.cancel(waiting.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="ended already"):
        client.responses.cancel(polled.id)


def test_a_conversation_is_gone_on_with_by_either_name_and_is_that_of_the_page(
    client: openai.OpenAI, system: System, key: str
) -> None:
    conversation = client.conversations.create()
    first = client.responses.create(model="good", input="One?", conversation=conversation.id)
    second = client.responses.create(model="good", input="Two?", previous_response_id=first.id)
    assert second.conversation is not None
    assert second.conversation.id == conversation.id
    items = list(client.conversations.items.list(conversation.id, order="asc", limit=3))
    said = [item.model_dump()["content"][0]["text"] for item in items]
    assert said == ["One?", ANSWER, "Two?", ANSWER]
    headers = {"Authorization": f"Bearer {key}", "X-Session-ID": conversation.id}
    shown = httpx2.get(f"{system.base_url}/session/messages", headers=headers, trust_env=False).json()["messages"]
    assert [message["text"] for message in shown] == said
    assert client.conversations.delete(conversation.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(second.id)


def test_errors_are_of_the_clients_own_classes(client: openai.OpenAI, system: System) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="good", input="x", tools=[{"type": "web_search"}])
    assert refused.value.param == "tools"
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="none", input="x")
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(str(uuid7()))
    with _client(system, "sb_no") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.responses.create(model="good", input="x")
    live = client.responses.create(model="paused", input="x", background=True)
    with pytest.raises(openai.ConflictError):
        client.responses.create(model="good", input="y", previous_response_id=live.id)
    client.responses.cancel(live.id)


def test_a_chat_worker_that_is_killed_and_a_web_process_that_is_replaced_are_not_noticed(
    client: openai.OpenAI, system: System
) -> None:
    live = client.responses.create(model="story", input="Why?", background=True)
    events: list[ResponseStreamEvent] = []
    for victim in ("chat@", "gunicorn"):
        for event in _resumed(client, live.id, events[-1].sequence_number if events else None):
            events.append(event)
            if event.type == "response.output_text.delta" and len(events) > 8:
                break
        child = system.child(victim)
        assert child is not None
        for process in [*child.children(recursive=True), child]:
            process.kill()
    system.until(system.ready, 30)
    _read_on(client, live.id, events)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert _text(events) == STORY == client.responses.retrieve(live.id).output_text


def test_a_web_process_that_drains_breaks_streams_and_ends_none(
    client: openai.OpenAI, system: System, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    live = client.responses.create(model="paused", input="Why?", background=True)
    events: list[ResponseStreamEvent] = []
    with pytest.raises(openai.APIConnectionError):
        for event in _resumed(client, live.id, None):
            if not events:
                child = system.child("gunicorn")
                assert child is not None
                child.terminate()
            events.append(event)
    system.until(system.ready, 30)
    provider.go_on.set()
    _read_on(client, live.id, events)
    assert re.fullmatch(r"Wait\.* for it", _text(events))


def test_instructions_and_temperature_are_the_conversations(client: openai.OpenAI, provider: ProviderServer) -> None:
    first = client.responses.create(
        model="good", input=[{"role": "developer", "content": "Rhyme."}, {"role": "user", "content": "Why?"}]
    )
    assert first.instructions == "Rhyme."
    client.responses.create(model="good", input="And?", previous_response_id=first.id, temperature=0.5)
    system, *_ = provider.requests[-1]["messages"]
    assert (system["role"], "Rhyme." in system["content"]) == ("system", True)
    assert provider.requests[-1]["temperature"] == 0.5


def test_the_example_with_openais_package_reads_two_answers(system: System, key: str) -> None:
    assert _run_example("responses.py", system, key, SWITCHBOARD_MODEL="good") == f"{ANSWER}\n{ANSWER}\n"
    failing = _example("responses.py", system, key, SWITCHBOARD_MODEL="unauthorized")
    told, _ = failing.communicate(timeout=60)
    assert (failing.returncode, "The answer failed: " in told) == (1, True)


def test_the_example_with_httpx_sse_goes_on_while_the_web_process_is_replaced(system: System, key: str) -> None:
    told: list[str] = []
    process = _example("events.py", system, key)
    assert process.stdout is not None
    while len("".join(told)) < 80:
        told.append(process.stdout.read(1))
        assert told[-1], "it has ended"
    child = system.child("gunicorn")
    assert child is not None
    child.terminate()
    told.append(process.stdout.read())
    assert process.wait(60) == 0
    assert "".join(told) == f"{STORY}\n"
    wait_for(lambda: _answers(system), what="the web process is back")


def _answers(system: System) -> bool:
    try:
        return httpx2.get(system.base_url + "/healthz", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def test_plain_eventsource_clients_read_a_stream(system: System, key: str, provider: ProviderServer) -> None:
    require_packages(PROGRAMS)
    provider.go_on.clear()
    with httpx2.Client(base_url=system.base_url, trust_env=False, timeout=30) as http:
        made = http.post("/session/create", json={"model": "paused"})
        proof = made.cookies["switchboard"]
        http.cookies.clear()
        http.headers["X-Session-ID"] = proof
        http.post("/chat", json={"message": "Why?"}).raise_for_status()
        command: list[str | Path] = [NODE, PROGRAMS / "events.js", f"{system.base_url}/chat/sse", proof]
        node = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert node.stdout is not None
            assert node.stdout.readline() == "listening\n"
            provider.go_on.set()
            seen = json.loads(node.communicate(timeout=60)[0])
        finally:
            node.kill()
            node.wait()
        shown = http.get("/session/messages").json()["messages"][-1]["text"]
        # The same once more, after the first event.
        headers = {"Last-Event-ID": seen[0][0][0]}
        with http.stream("GET", "/chat/sse", headers=headers) as response:
            events = []
            for event in sseclient.SSEClient(response.iter_bytes()).events():
                events.append([event.id, event.event, json.loads(event.data).get("text", "")])
                if event.event == "done":
                    break
    assert seen[0] == seen[1]
    assert "".join(text for _, _, text in seen[0]) == shown
    assert [event for event in events if event[1] in ("started", "delta", "done")] == seen[0][1:]


def _example(name: str, system: System, key: str, **environment: str) -> "subprocess.Popen[str]":
    variables = {
        **os.environ,
        "SWITCHBOARD_URL": system.base_url,
        "SWITCHBOARD_KEY": key,
        "NO_PROXY": "*",
        "PYTHONUNBUFFERED": "1",
        **environment,
    }
    questions = ["Why?"] if name == "events.py" else ["Why?", "And?"]
    command: list[str | Path] = [sys.executable, EXAMPLES / name, *questions]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _run_example(name: str, system: System, key: str, **environment: str) -> str:
    process = _example(name, system, key, **environment)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return told


@pytest.mark.parametrize("version", ["openai", "openai6"])
def test_the_package_for_node_sees_the_same(system: System, key: str, provider: ProviderServer, version: str) -> None:
    require_packages(PROGRAMS)
    provider.go_on.clear()
    command: list[str | Path] = [NODE, PROGRAMS / "responses.js", f"{system.base_url}/v1", key, version]
    run = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen["whole"] == {"text": ANSWER, "status": "completed"}
    assert seen["streamed"] == [ANSWER] * 3
    assert (seen["first"], seen["again"]) == (5, ANSWER)
    assert seen["cut"]["numbers"] == list(range(len(seen["cut"]["numbers"])))
    assert (seen["cut"]["text"], seen["cut"]["end"]) == (STORY, "response.completed")
    assert seen["items"] == ["One?", ANSWER, "Two?", ANSWER]
    assert (seen["cancelled"], seen["deleted"]) == ("cancelled", True)
    assert seen["errors"] == [
        "NotFoundError unknown_conversation null",
        "BadRequestError invalid_value tools",
        "AuthenticationError invalid_api_key null",
    ]
