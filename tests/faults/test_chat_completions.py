"""OpenAI's own client over /v1/chat/completions: what it says and raises, what survives, and that nothing stays."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from sqlalchemy import select, text
from uuid_utils.compat import uuid7

from core.stores.tables import Generation, Session
from tests.clients.node import NODE, require_packages
from tests.e2e.test_canary import _value as value_of
from tests.faults.fleet import Fleet
from tests.support.postgres import Postgres
from tests.support.provider import ANSWER, STORY, THOUGHT, ProviderServer
from tests.support.waiting import wait_for

PASSWORD = "correct horse battery"
PROGRAMS = Path(__file__).parents[1] / "clients/plain"
CANARY = "canary7d20c1"
QUESTION: list[Any] = [{"role": "user", "content": f"{CANARY}: why?"}]


class User(NamedTuple):
    """A user's browser, and a key for programs."""

    browser: httpx2.Client
    key: str

    def client(self, fleet: Fleet, key: str | None = None) -> openai.OpenAI:
        """OpenAI's client with the user's key."""
        return openai.OpenAI(
            base_url=f"{fleet.web.url}/v1",
            api_key=key or self.key,
            max_retries=0,
            timeout=60,
            http_client=openai.DefaultHttpxClient(trust_env=False),
        )


@pytest.fixture(scope="module")
def fleet(provider: ProviderServer, postgres: Postgres) -> Iterator[Fleet]:
    """One installation for all of these tests."""
    installation = Fleet(postgres.create(), provider)
    installation.start()
    yield installation
    installation.close()


@pytest.fixture(scope="module")
def user(fleet: Fleet) -> Iterator[User]:
    """Who asks."""
    with httpx2.Client(base_url=fleet.web.url, trust_env=False, timeout=30) as browser:
        body = {"email": f"{uuid7()}@example.org", "password": PASSWORD}
        browser.post("/auth/register", json=body).raise_for_status()
        yield User(browser, _new_key(browser)["key"])


def _new_key(browser: httpx2.Client) -> dict[str, str]:
    made: dict[str, str] = browser.post("/auth/keys", json={"name": "test"}).raise_for_status().json()
    return made


@pytest.fixture
def client(fleet: Fleet, user: User) -> Iterator[openai.OpenAI]:
    """The user's client."""
    with user.client(fleet) as made:
        yield made


def _stream(client: openai.OpenAI, **more: Any) -> Iterator[ChatCompletionChunk]:
    asked = {"model": "good", "messages": QUESTION, "stream": True, **more}
    return iter(client.chat.completions.create(**asked))


def _said(chunks: Iterator[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def _left(fleet: Fleet) -> list[object]:
    """What is kept of requests."""
    with fleet.runtime.database.reading() as db:
        rows = [*db.scalars(select(Session.id)), *db.scalars(select(Generation.state))]
    return [*rows, *fleet.runtime.redis.scan_iter("sb:{*-*}:*")]


def _wait_until_nothing_is_left(fleet: Fleet) -> None:
    with suppress(AssertionError):
        wait_for(lambda: not _left(fleet))
    assert _left(fleet) == []


def test_forty_turns_with_all_options_are_streamed_and_whole(client: openai.OpenAI, provider: ProviderServer) -> None:
    history: list[Any] = [{"role": "system", "content": "Be brief."}]
    for number in range(20):
        history.append({"role": "user", "content": [{"type": "text", "text": f"Question {number}?"}]})
        history.append({"role": "assistant", "content": f"Answer {number}."})
    history.append({"role": "user", "content": "And now?"})
    options: dict[str, Any] = {
        "messages": history,
        "max_tokens": 50,
        "temperature": 0.7,
        "top_p": 0.9,
        "stop": ["\n\nUser:", "###"],
        "seed": 7,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "user": "somebody",
        "extra_body": {"keep_alive": "5m", "chat_id": "local"},
    }
    chunks = list(_stream(client, **options, stream_options={"include_usage": True}))
    assert _said(iter(chunks)) == ANSWER
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].id.startswith("chatcmpl-")
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:-1]] == ["stop"]
    assert chunks[-1].choices == []
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0

    asked = provider.requests[-1]
    assert [turn["role"] for turn in asked["messages"]] == ["system", *["user", "assistant"] * 20, "user"]
    assert asked["messages"][0]["content"] == "Be kind.\n\nBe brief."
    assert asked["messages"][1]["content"] == "Question 0?"
    reached = {name: asked[name] for name in options if name not in ("messages", "extra_body")}
    assert reached == {name: value for name, value in options.items() if name in reached}
    assert "keep_alive" not in asked

    whole = client.chat.completions.create(model="good", **options)
    assert whole.choices[0].message.content == ANSWER
    assert (whole.object, whole.model, whole.choices[0].finish_reason) == ("chat.completion", "good", "stop")
    assert whole.usage == usage


def test_a_long_history_goes_to_the_model_whole(client: openai.OpenAI, provider: ProviderServer) -> None:
    long = [{"role": "user", "content": "é" * 10_000}, {"role": "assistant", "content": "Yes."}, *QUESTION]
    assert _said(_stream(client, messages=long)) == ANSWER
    assert len(provider.requests[-1]["messages"][1]["content"]) == 10_000


def test_an_answer_stops_before_its_stop_sequence_whatever_the_server_does(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="good", messages=QUESTION, stop="wörld")
    assert whole.choices[0].message.content == ANSWER.partition("wörld")[0]
    assert whole.choices[0].finish_reason == "stop"
    assert _said(_stream(client, stop=["no such", "🎉🎉 T"])) == ANSWER.partition("🎉🎉 T")[0]


def test_thinking_comes_as_reasoning_content(client: openai.OpenAI) -> None:
    chunks = list(_stream(client, model="thinks"))
    thought = [getattr(chunk.choices[0].delta, "reasoning_content", None) for chunk in chunks]
    assert "".join(filter(None, thought)) == THOUGHT
    assert _said(iter(chunks)) == ANSWER
    whole = client.chat.completions.create(model="thinks", messages=QUESTION)
    assert getattr(whole.choices[0].message, "reasoning_content", None) == THOUGHT


def test_another_model_answers_for_one_that_fails_and_says_so(client: openai.OpenAI) -> None:
    chunks = list(_stream(client, model="falls-back"))
    assert _said(iter(chunks)) == ANSWER
    assert chunks[-1].model == "good"


def test_models_are_listed_and_told_one_by_one(client: openai.OpenAI) -> None:
    listed = [model.id for model in client.models.list()]
    assert {"good", "story"} <= set(listed)
    assert client.models.retrieve("good").id == "good"
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("nothing")
    assert refused.value.code == "model_not_found"


def test_openais_package_for_node_sees_the_same(fleet: Fleet, user: User) -> None:
    require_packages(PROGRAMS)
    command = [str(NODE), "chat_completions.js", f"{fleet.web.url}/v1", user.key]
    run = subprocess.run(command, cwd=PROGRAMS, capture_output=True, text=True, timeout=90)
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen["whole"] == {"text": ANSWER, "reason": "stop"}
    assert (seen["streamed"], seen["usage"]) == (ANSWER, True)
    assert {"good", "story"} <= set(seen["models"])
    assert seen["errors"] == [
        "NotFoundError model_not_found",
        "BadRequestError invalid_value",
        "InternalServerError provider_failed",
        "NotFoundError model_not_found",
        "AuthenticationError invalid_api_key",
        "APIError provider_failed",
    ]


def _many_messages(count: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "?"}] * count


REFUSED: list[tuple[dict[str, Any], type[openai.APIStatusError], str | None, str]] = [
    ({"model": "nothing"}, openai.NotFoundError, "model", "model_not_found"),
    ({"messages": []}, openai.BadRequestError, "messages", "invalid_value"),
    ({"messages": _many_messages(2001)}, openai.BadRequestError, "messages", "invalid_value"),
    ({"messages": [{"role": "tool", "content": "?"}]}, openai.BadRequestError, "messages[0].role", "invalid_value"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
        openai.BadRequestError,
        "messages[0].content",
        "invalid_value",
    ),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError, "tools", "invalid_value"),
    ({"n": 2}, openai.BadRequestError, "n", "invalid_value"),
    ({"logprobs": True}, openai.BadRequestError, "logprobs", "invalid_value"),
    ({"response_format": {"type": "json_object"}}, openai.BadRequestError, "response_format", "invalid_value"),
    ({"temperature": 3}, openai.BadRequestError, "temperature", "invalid_value"),
    ({"max_tokens": 0}, openai.BadRequestError, "max_tokens", "invalid_value"),
    ({"stop": ["a", "b", "c", "d", "e"]}, openai.BadRequestError, "stop", "invalid_value"),
    (
        {"messages": [{"role": "user", "content": "Why is that so? " * 4000}]},
        openai.BadRequestError,
        "messages",
        "context_length_exceeded",
    ),
    ({"model": "filtered"}, openai.BadRequestError, "messages", "content_filter"),
    ({"model": "away"}, openai.InternalServerError, None, "provider_failed"),
]


def test_what_is_refused_is_raised_as_its_own_class(client: openai.OpenAI, fleet: Fleet) -> None:
    for change, kind, param, code in REFUSED:
        for stream in (False, True):
            with pytest.raises(kind) as refused:
                client.chat.completions.create(**{"model": "good", "messages": QUESTION, "stream": stream, **change})
            assert (refused.value.param, refused.value.code) == (param, code), change
    _wait_until_nothing_is_left(fleet)


def test_who_is_nobody_is_refused_and_a_key_that_ends_ends_its_streams(
    fleet: Fleet, user: User, provider: ProviderServer
) -> None:
    for key in ("sk-nobody", "sb_forged"):
        with user.client(fleet, key) as stranger, pytest.raises(openai.AuthenticationError):
            stranger.chat.completions.create(model="good", messages=QUESTION)
    guest = httpx2.post(
        f"{fleet.web.url}/v1/chat/completions", json={"model": "good", "messages": QUESTION}, trust_env=False
    )
    assert (guest.status_code, guest.json()["error"]["code"]) == (401, "invalid_api_key")

    provider.go_on.clear()
    made = _new_key(user.browser)
    with user.client(fleet, made["key"]) as client:
        stream = _stream(client, model="paused")
        next(stream)
        user.browser.delete(f"/auth/keys/{made['id']}").raise_for_status()
        with pytest.raises(openai.APIError):
            _said(stream)
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    _wait_until_nothing_is_left(fleet)


def test_no_credential_opens_a_requests_session(
    fleet: Fleet, user: User, client: openai.OpenAI, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    stream = _stream(client, model="paused")
    next(stream)
    with fleet.runtime.database.reading() as db:
        session_id = str(db.scalars(select(Session.id)).one())
        generation_id = str(db.scalars(select(Generation.id)).one())
    for unknown in (
        lambda: client.responses.retrieve(generation_id),
        lambda: client.conversations.retrieve(session_id),
    ):
        with pytest.raises(openai.NotFoundError):
            unknown()
    assert user.browser.get("/sessions").json()["sessions"] == []
    for method, path in (("GET", "/session/messages"), ("GET", "/session/export"), ("DELETE", "/session")):
        answer = user.browser.request(method, path, headers={"X-Session-ID": session_id})
        assert (answer.status_code, answer.json()["type"]) == (401, "/problems/session-invalid")
    provider.go_on.set()
    assert _said(stream).endswith(" for it")


def test_a_user_has_as_many_answers_at_once_as_elsewhere(client: openai.OpenAI, provider: ProviderServer) -> None:
    provider.go_on.clear()
    streams = [_stream(client, model="paused") for _ in range(2)]
    for stream in streams:
        next(stream)
    with pytest.raises(openai.RateLimitError) as refused:
        next(_stream(client, model="good"))
    assert int(refused.value.response.headers["Retry-After"]) > 0
    assert refused.value.code == "rate_limit_exceeded"
    provider.go_on.set()
    for stream in streams:
        assert _said(stream).endswith(" for it")
    assert _said(_stream(client)) == ANSWER


def test_an_answer_that_nobody_waits_for_is_stopped(
    fleet: Fleet, client: openai.OpenAI, provider: ProviderServer
) -> None:
    for stream in (True, False):
        provider.go_on.clear()
        provider.disconnected.clear()
        if stream:
            with client.chat.completions.create(model="paused", messages=QUESTION, stream=True) as answer:
                next(iter(answer))
        else:
            hasty = client.with_options(timeout=1.5)
            with pytest.raises(openai.APITimeoutError):
                hasty.chat.completions.create(model="paused", messages=QUESTION)
        assert provider.disconnected.wait(15)
        _wait_until_nothing_is_left(fleet)


def test_an_answer_survives_its_worker(fleet: Fleet, client: openai.OpenAI) -> None:
    stream = _stream(client, model="story")
    said = _said(islice(stream, 20))
    for worker in fleet.workers:
        worker.send(signal.SIGKILL)
    fleet.start()
    said += _said(stream)
    assert said == STORY
    _wait_until_nothing_is_left(fleet)


def test_an_answer_that_breaks_off_is_raised_and_not_ended(fleet: Fleet, client: openai.OpenAI) -> None:
    assert _said(_stream(client, model="falls-back-midway")) == ANSWER
    stream = _stream(client, model="error-in-stream")
    said: list[ChatCompletionChunk] = []
    with pytest.raises(openai.APIError):
        said.extend(stream)
    assert _said(iter(said)).startswith("Half an ")


def test_nothing_stays_but_what_is_counted(fleet: Fleet, user: User, client: openai.OpenAI) -> None:
    for model in ("good", "thinks-aloud", "cut", "error-in-stream"):
        with nullcontext() if model == "good" else pytest.raises(openai.APIError):
            _said(_stream(client, model=model, user=CANARY, stop=[CANARY + "!"]))
    _wait_until_nothing_is_left(fleet)
    assert user.browser.get("/sessions").json()["sessions"] == []
    redis = fleet.runtime.redis
    assert [key for key in redis.scan_iter() if CANARY in value_of(redis, str(key))] == []
    logs = {path.name: path.read_text(errors="replace") for path in fleet.directory.glob("*.log")}
    assert {"web.log", "first.log"} <= set(logs)
    assert [name for name, lines in logs.items() if CANARY in lines] == []
    with fleet.runtime.database.reading() as db:
        tables = db.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        like = {"words": f"%{CANARY}%"}
        count = 'SELECT count(*) FROM "{}" AS row WHERE row::text LIKE :words'
        words = [table for table in tables if db.scalar(text(count.format(table)), like)]
    assert words == []
    assert [result.name for result in fleet.runtime.invariants.check() if result.ids] == []


def test_a_web_process_that_stops_does_not_end_a_stream_as_if_it_were_whole(
    fleet: Fleet, client: openai.OpenAI, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    stream = _stream(client, model="paused")
    next(stream)
    fleet.web.terminate()
    with pytest.raises(openai.APIError):
        _said(stream)
    fleet.replace_web()
    provider.go_on.set()
