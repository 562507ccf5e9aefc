"""OpenAI's Responses and Conversations: what becomes of the unusual. tests/e2e has them with the real clients."""

import json
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from uuid_utils.compat import uuid7

from core.conversation.keys import keys
from core.generation import usage
from core.runtime import Runtime
from tests.support.provider import ANSWER, HALF, ProviderServer
from tests.support.waiting import wait_for
from tests.web.api.openai.test_errors import _told
from web.schemas.openai_responses import CreateResponse
from web.streaming.wire import Broken

PASSWORD = "correct horse battery"
Json = dict[str, Any]


@pytest.fixture
def owner(app: Flask) -> FlaskClient:
    """A program with a key of its user's."""
    return _program(app)


@pytest.fixture
def stranger(app: Flask) -> FlaskClient:
    """Another user's."""
    return _program(app)


def _program(app: Flask) -> FlaskClient:
    browser = app.test_client()
    browser.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD})
    key = browser.post("/auth/keys", json={"name": "program"}).get_json()["key"]
    program = app.test_client()
    program.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return program


def _ask(client: FlaskClient, **body: Any) -> Json:
    response = client.post("/v1/responses", json={"input": "Why?", "model": "good", **body})
    assert response.status_code == 200, response.get_data(as_text=True)
    answered: Json = json.loads(response.get_data())
    return answered


def _events(sent: str) -> list[Json]:
    return [json.loads(line.removeprefix("data:")) for line in sent.split("\n") if line.startswith("data:")]


def _replay(client: FlaskClient, response_id: str, after: int | None = None) -> list[Json]:
    query = "" if after is None else f"&starting_after={after}"
    response = client.get(f"/v1/responses/{response_id}?stream=true{query}")
    assert (response.status_code, response.mimetype) == (200, "text/event-stream")
    return _events(response.get_data(as_text=True))


def test_anothers_is_refused_exactly_as_what_is_unknown(
    owner: FlaskClient, stranger: FlaskClient, app: Flask
) -> None:
    mine = _ask(owner)
    response_id, conversation_id = mine["id"], mine["conversation"]["id"]
    nothing = str(uuid7())
    ways: list[tuple[str, str, Json | None]] = [
        ("GET", "/v1/responses/{response}", None),
        ("GET", "/v1/responses/{response}?stream=true&starting_after=2", None),
        ("POST", "/v1/responses/{response}/cancel", {}),
        ("DELETE", "/v1/responses/{response}", None),
        ("GET", "/v1/responses/{response}/input_items", None),
        ("GET", "/v1/conversations/{conversation}", None),
        ("POST", "/v1/conversations/{conversation}", {"metadata": {}}),
        ("DELETE", "/v1/conversations/{conversation}", None),
        ("GET", "/v1/conversations/{conversation}/items", None),
        ("POST", "/v1/conversations/{conversation}/items", {"items": []}),
        ("POST", "/v1/conversations/{conversation}", {"metadata": {"theirs": "now"}}),
        ("GET", "/v1/conversations/{conversation}/items/{item}", None),
        ("DELETE", "/v1/conversations/{conversation}/items/{item}", None),
        ("POST", "/v1/responses", {"input": "x", "previous_response_id": "{response}"}),
        ("POST", "/v1/responses", {"input": "x", "conversation": "{conversation}"}),
    ]
    for method, path, body in ways:
        answers = []
        for response, conversation in ((response_id, conversation_id), (f"resp_{nothing}", nothing), ("x", "y")):

            def named(text: str, response: str = response, conversation: str = conversation) -> str:
                item = response.replace("resp_", "msg_")
                text = text.replace("{item}", item)
                return text.replace("{response}", response).replace("{conversation}", conversation)

            sent = {name: named(value) if isinstance(value, str) else value for name, value in (body or {}).items()}
            given: Json = {"json": sent} if body is not None else {}
            answers.append(_told(stranger.open(named(path), method=method, **given), 404))
            guest = app.test_client()
            assert _told(guest.open(named(path), method=method, **given), 401)["code"] == "invalid_api_key"
        assert answers[0] == answers[1] == answers[2]
    assert owner.get(f"/v1/responses/{response_id}").get_json() == mine
    assert owner.get(f"/v1/conversations/{conversation_id}").get_json()["metadata"] == {}
    listed = owner.get(f"/v1/conversations/{conversation_id}/items?order=asc").get_json()
    assert [item["content"][0]["text"] for item in listed["data"]] == ["Why?", ANSWER]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"truncation": "disabled"}, "truncation"),
        ({"top_p": 0.5}, "top_p"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"reasoning": {"effort": None, "summary": "auto"}}, "reasoning"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format.type"),
        ({"store": False}, "store"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"a": "b" * 513}}, "metadata.a"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": "9"}, "max_output_tokens"),
        ({"max_output_tokens": 9.5}, "max_output_tokens"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"stream_options": {"include_obfuscation": "yes"}}, "stream_options.include_obfuscation"),
        ({"colour": "blue"}, "colour"),
        ({"input": 7}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].type"),
        ({"input": "x" * 33_000}, "input"),
        ({"conversation": {"id": "x", "more": 1}}, "conversation"),
        ({"conversation": "x", "previous_response_id": "y"}, "conversation"),
        ({"previous_response_id": "x" * 65}, "previous_response_id"),
        ({"background": "yes"}, "background"),
    ],
    ids=lambda value: json.dumps(value)[:30],
)
def test_what_is_not_supported_is_named(owner: FlaskClient, body: Json, param: str) -> None:
    response = owner.post("/v1/responses", json={"input": "Why?", **body})
    assert response.status_code in (400, 413)
    assert response.get_json()["error"]["param"] == param
    assert owner.get("/sessions").get_json()["sessions"] == []


@pytest.mark.one_database
def test_rude_input_is_refused_and_half_characters_are_replaced(owner: FlaskClient) -> None:
    assert _told(owner.post("/v1/responses", json={"input": "x", "model": "none"}), 404)["code"] == "model_not_found"
    assert _told(owner.post("/v1/responses", data="{", content_type="application/json"), 400)
    long = owner.post("/v1/responses", json={"input": "x", "metadata": {"k" * 100_000: ""}})
    assert _told(long, 400)["param"].startswith("metadata.kkk")
    assert len(long.get_data()) < 1000
    assert _told(owner.post("/v1/responses", data=b"x" * (CreateResponse.limit + 1)), 413)
    odd = owner.post(
        "/v1/responses", data=b'{"input": "a\\ud800\\u0000b", "background": true}', content_type="application/json"
    ).get_json()
    (question,) = owner.get(f"/v1/responses/{odd['id']}/input_items").get_json()["data"]
    assert question["content"][0]["text"].startswith("a")
    for query in ("after=x", f"after=msg_{uuid7()}", "order=up", "limit=0", "limit=101", "include[]=x"):
        told = _told(owner.get(f"/v1/conversations/{odd['conversation']['id']}/items?{query}"), 400)
        assert told["param"] == query.partition("=")[0].removesuffix("[]")
    for query in ("stream=yes", "stream=true&starting_after=-1", f"stream=true&starting_after={'9' * 400}"):
        assert _told(owner.get(f"/v1/responses/{odd['id']}?{query}"), 400)["param"] in ("stream", "starting_after")
    assert _told(owner.get(f"/v1/responses/{odd['id']}?stream=true&starting_after=999"), 400)["param"] == (
        "starting_after"
    )


def test_a_conversation_is_paged_either_way(owner: FlaskClient) -> None:
    conversation = owner.post("/v1/conversations", json={}).get_json()
    assert (conversation["object"], conversation["metadata"]) == ("conversation", {})
    path = f"/v1/conversations/{conversation['id']}"
    assert owner.post(path, json={"metadata": {}}).get_json() == conversation
    for number in range(3):
        _ask(owner, input=f"Why {number}?", conversation={"id": conversation["id"]})
    whole = owner.get(f"{path}/items?order=asc&limit=100").get_json()["data"]
    assert [item["role"] for item in whole] == ["user", "assistant"] * 3
    for order, expected in (("asc", whole), ("desc", whole[::-1])):
        got: list[Json] = []
        more = True
        while more:
            after = f"&after={got[-1]['id']}" if got else ""
            page = owner.get(f"{path}/items?limit=4&order={order}{after}").get_json()
            assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
            got += page["data"]
            more = page["has_more"]
        assert got == expected
    assert _told(owner.delete(f"/v1/responses/resp_{whole[-1]['id'][4:]}"), 400)["code"] == "part_of_conversation"
    assert _told(owner.post(f"{path}/items", json={"items": []}), 400)["param"] == "items"
    assert owner.delete(path).get_json() == {
        "id": conversation["id"],
        "object": "conversation.deleted",
        "deleted": True,
    }
    assert _told(owner.get(path), 404)


def test_a_conversations_items_are_read_one_by_one_and_stay(owner: FlaskClient, provider: ProviderServer) -> None:
    first = _ask(owner)
    path = f"/v1/conversations/{first['conversation']['id']}/items"
    left = _ask(owner, input="And?", previous_response_id=first["id"])
    _ask(owner, input="Or?", previous_response_id=first["id"])  # which leaves the one before on a branch of its own
    listed = owner.get(f"{path}?order=asc").get_json()["data"]
    assert [owner.get(f"{path}/{each['id']}").get_json() for each in listed] == listed
    assert owner.get(f"{path}/{left['output'][0]['id']}").get_json() == left["output"][0]
    provider.go_on.clear()
    live = _ask(owner, input="Now?", model="paused", previous_response_id=first["id"], background=True)
    unfinished = f"{path}/msg_{live['id'].removeprefix('resp_')}"
    wait_for(lambda: owner.get(unfinished).status_code == 200)
    assert owner.get(unfinished).get_json()["status"] == "in_progress"
    provider.go_on.set()
    wait_for(lambda: owner.get(unfinished).get_json()["status"] == "completed")
    refused = _told(owner.delete(f"{path}/{listed[0]['id']}"), 400)
    assert (refused["code"], "one by one" in refused["message"]) == ("part_of_conversation", True)
    other = _ask(owner)
    for unknown in (other["output"][0]["id"], f"msg_{uuid7()}", "x", "msg_", listed[0]["id"].upper()):
        for method in ("GET", "DELETE"):
            assert _told(owner.open(f"{path}/{unknown}", method=method), 404)["code"] == "unknown_item"


def test_a_conversation_has_the_metadata_that_it_was_given_last(owner: FlaskClient) -> None:
    noted = {"topic": "Łódź 🎉", "empty": ""}
    path = f"/v1/conversations/{owner.post('/v1/conversations', json={'metadata': noted}).get_json()['id']}"

    def metadata() -> Json:
        read: Json = owner.get(path).get_json()["metadata"]
        return read

    assert metadata() == noted
    _ask(owner, conversation=path.rsplit("/", 1)[1], metadata={"of": "the response"})
    for sent, there in (({}, noted), ({"metadata": {"a": "b"}}, {"a": "b"}), ({"metadata": None}, {})):
        assert owner.post(path, json=sent).get_json()["metadata"] == metadata() == there
    most = {str(number) * 64: "x" * 512 for number in range(10)}
    assert owner.post(path, json={"metadata": most}).get_json()["metadata"] == most
    for wrong, param in (({"a": 1}, "metadata.a"), ({"a" * 65: ""}, "metadata"), ({"a": "b" * 513}, "metadata.a")):
        for url in (path, "/v1/conversations"):
            assert _told(owner.post(url, json={"metadata": wrong}), 400)["param"].startswith(param)
    assert _told(owner.post(path, json={"metadata": {str(n): "" for n in range(17)}}), 400)["param"] == "metadata"
    assert metadata() == most


def test_a_conversation_branches_at_the_response_that_is_gone_on_from(
    owner: FlaskClient, provider: ProviderServer
) -> None:
    first = _ask(owner, input="One?")
    second = _ask(owner, input="Two?", previous_response_id=first["id"])
    beside = _ask(owner, input="Other two?", previous_response_id=first["id"], model="echo-length")
    assert [each["previous_response_id"] for each in (first, second, beside)] == [None, first["id"], first["id"]]
    path = f"/v1/conversations/{first['conversation']['id']}/items?order=asc"
    said = [item["content"][0]["text"] for item in owner.get(path).get_json()["data"]]
    assert said == ["One?", ANSWER, "Other two?", "4"]  # system, One?, its answer, Other two?
    # The model was that response's alone.
    assert _ask(owner, input="Three?", model=None, previous_response_id=second["id"])["model"] == "good"
    said = [item["content"][0]["text"] for item in owner.get(path).get_json()["data"]]
    assert said == ["One?", ANSWER, "Two?", ANSWER, "Three?", ANSWER]


def test_a_response_that_is_alone_is_deleted_with_its_conversation(owner: FlaskClient) -> None:
    response = _ask(owner)
    assert owner.delete(f"/v1/responses/{response['id']}").get_json() == {
        "id": response["id"],
        "object": "response",
        "deleted": True,
    }
    assert owner.get("/sessions").get_json()["sessions"] == []


def test_how_an_answer_ended_is_told_as_openai_tells_it(owner: FlaskClient) -> None:
    failed = _ask(owner, model="unauthorized")
    assert (failed["status"], failed["error"]["code"]) == ("failed", "server_error")
    assert "key" in failed["error"]["message"]
    assert _replay(owner, failed["id"])[-1]["type"] == "response.failed"
    assert _ask(owner, model="filtered")["error"]["code"] == "invalid_prompt"
    short = _ask(owner, model="echo-length")
    assert (short["status"], short["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert _replay(owner, short["id"])[-1]["type"] == "response.incomplete"
    fallen = _ask(owner, model="falls-back")
    assert (fallen["status"], fallen["model"]) == ("completed", "good")
    numbers = [event["sequence_number"] for event in _replay(owner, fallen["id"])]
    assert numbers == list(range(len(numbers)))
    assert _told(owner.post(f"/v1/responses/{fallen['id']}/cancel", json={}), 400)["code"] == (
        "response_not_cancellable"
    )


def test_a_repeat_is_answered_with_the_same_response(owner: FlaskClient) -> None:
    body = {"input": "Why?", "model": "good", "instructions": "", "top_p": 1}
    for path, sent in (("/v1/responses", body), ("/v1/conversations", {})):
        first, second = (owner.post(path, json=sent, headers={"Idempotency-Key": path}) for _ in range(2))
        assert (first.status_code, json.loads(first.data)["id"]) == (200, json.loads(second.data)["id"])
    assert len(owner.get("/sessions").get_json()["sessions"]) == 2


def test_a_response_tells_what_it_was_asked_with_whenever_it_is_read(owner: FlaskClient) -> None:
    metadata = {f"{number:064}": "é" * 512 for number in range(16)}
    options = {"instructions": "Rhyme.", "temperature": 0.5, "max_output_tokens": 50, "background": False}
    options |= {"metadata": metadata, "truncation": "auto"}
    options |= {"tool_choice": "none", "parallel_tool_calls": False, "top_p": 1.0}
    first = _ask(owner, **options)
    second = _ask(owner, instructions="Count.", previous_response_id=first["id"])
    background = _ask(owner, background=True, previous_response_id=second["id"])
    assert _replay(owner, background["id"])[-1]["type"] == "response.completed"
    path = f"/v1/responses/{first['id']}"
    last = _replay(owner, first["id"])
    for told in (first, owner.get(path).get_json(), last[0]["response"], last[-1]["response"]):
        assert {name: told[name] for name in options} == options
    others = {"instructions": "Count.", "temperature": 0.5, "max_output_tokens": None, "metadata": {}}
    others |= {"tool_choice": "auto", "parallel_tool_calls": True, "top_p": None}
    for answer, in_background in ((second, False), (background, True)):
        told = owner.get(f"/v1/responses/{answer['id']}").get_json()
        assert {name: told[name] for name in others} == others  # what holds for it came with an earlier one
        assert (told["background"], answer["background"]) == (in_background, in_background)
    for name in ("include", "include[]"):
        assert _told(owner.get(f"{path}?{name}=reasoning"), 400)["param"] == "include"


def test_empty_instructions_take_back_those_of_the_conversation(owner: FlaskClient, provider: ProviderServer) -> None:
    def told_to(instructions: str | None, **more: Any) -> tuple[str | None, bool]:
        told = _ask(owner, conversation=conversation, instructions=instructions, **more)["instructions"]
        return told, any("Rhyme." in str(each["content"]) for each in provider.requests[-1]["messages"])

    conversation = _ask(owner, instructions="Rhyme.")["conversation"]["id"]
    assert told_to(None) == ("Rhyme.", True)
    assert told_to("") == (None, False)
    assert told_to(None) == (None, False)
    both = [{"role": "developer", "content": "Rhyme."}, {"role": "user", "content": "Why?"}]
    assert told_to("", input=both) == ("Rhyme.", True)
    assert (
        _told(owner.post("/v1/responses", json={"input": "x", "instructions": " "}), 400)["param"] == "instructions"
    )


def test_an_answer_has_no_more_tokens_than_it_was_asked_to_have(owner: FlaskClient, provider: ProviderServer) -> None:
    _ask(owner, max_output_tokens=7.0)
    assert provider.requests[-1]["max_tokens"] == 7
    _ask(owner, max_output_tokens=5000)
    assert provider.requests[-1]["max_tokens"] == 100  # the model's own
    half = _ask(owner, model="falls-back-midway", max_output_tokens=usage.tokens(ANSWER[:HALF]))
    assert (half["status"], half["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert half["output"][0]["content"][0]["text"] == ANSWER[:HALF]


@pytest.mark.one_database
def test_what_asks_for_nothing_is_taken(owner: FlaskClient) -> None:
    """As clients send it that write down all that they could ask for."""
    nothing = {"reasoning": {"effort": None, "summary": None}, "stream_options": {"include_obfuscation": True}}
    assert _ask(owner, **nothing)["status"] == "completed"


@pytest.mark.one_database
def test_who_wants_nothing_kept_is_told_where_that_is(owner: FlaskClient) -> None:
    told = _told(owner.post("/v1/responses", json={"input": "Why?", "store": False}), 400)
    assert "/v1/chat/completions" in told["message"]


def test_a_live_answer_is_cancelled_and_only_that_one(owner: FlaskClient, provider: ProviderServer) -> None:
    first = _ask(owner, model="good")
    live = _ask(owner, model="paused", background=True, previous_response_id=first["id"])
    assert live["status"] == "queued"
    # The conversation's answer that has ended already is not the one that is live.
    assert _told(owner.post(f"/v1/responses/{first['id']}/cancel", json={}), 400)
    assert owner.get(f"/v1/responses/{live['id']}").get_json()["status"] in ("queued", "in_progress")
    for _ in range(2):
        cancelled = owner.post(f"/v1/responses/{live['id']}/cancel", json={}).get_json()
        assert cancelled["status"] == "cancelled"
    replayed = _replay(owner, live["id"])
    assert (replayed[-1]["type"], replayed[-1]["response"]["status"]) == ("response.incomplete", "cancelled")
    second = _told(owner.get(f"/v1/responses/{uuid7()}"), 404)
    assert second["code"] == "unknown_response"


def test_what_the_log_has_lost_is_never_made_up(owner: FlaskClient, web_runtime: Runtime) -> None:
    response = _ask(owner)
    whole = _replay(owner, response["id"])
    at = keys(UUID(response["conversation"]["id"]))
    web_runtime.redis.delete(at.log, at.meta)
    # To who has seen no words the answer is told anew; to others, that it can't be gone on exactly.
    assert len(whole) > 6
    for after in (-1, 0, 3):
        again = _replay(owner, response["id"], None if after < 0 else after)
        assert [event["sequence_number"] for event in again] == list(range(after + 1, 9))
        assert again[-1] == {**whole[-1], "sequence_number": 8}
        assert [event["delta"] for event in again if event["type"].endswith("delta")] == [ANSWER]
    refused = _told(owner.get(f"/v1/responses/{response['id']}?stream=true&starting_after=4"), 400)
    assert refused["param"] == "starting_after"


def test_a_log_that_is_lost_midway_ends_the_stream_with_an_error(
    owner: FlaskClient, web_runtime: Runtime, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    response = _ask(owner, model="paused", background=True)
    stream = owner.get(f"/v1/responses/{response['id']}?stream=true").iter_encoded()
    told: list[Json] = []
    for piece in stream:
        told += _events(piece.decode())
        if told and told[-1]["type"].endswith("delta"):
            break
    at = keys(UUID(response["conversation"]["id"]))
    web_runtime.redis.delete(at.log, at.meta, at.partial)
    told += [event for piece in stream for event in _events(piece.decode())]
    assert (told[-1]["type"], told[-1]["code"]) == ("error", "stream_not_kept")
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    provider.go_on.set()
    ended = lambda: owner.get(f"/v1/responses/{response['id']}").get_json()["status"] == "completed"  # noqa: E731
    wait_for(ended, seconds=15, what="the answer has ended")
    # From the log that was begun again, for who has seen no words.
    again = _replay(owner, response["id"], 3)
    text = owner.get(f"/v1/responses/{response['id']}").get_json()["output"][0]["content"][0]["text"]
    assert "".join(event["delta"] for event in again if event["type"].endswith("delta")) == text
    assert [event["sequence_number"] for event in again] == list(range(4, 4 + len(again)))
    assert _told(owner.get(f"/v1/responses/{response['id']}?stream=true&starting_after=5"), 400)


def test_a_session_that_goes_breaks_the_stream_and_never_ends_it(
    owner: FlaskClient, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    response = _ask(owner, model="paused", background=True)
    stream = owner.get(f"/v1/responses/{response['id']}?stream=true").iter_encoded()
    while b"output_text.delta" not in next(stream):
        pass
    assert owner.delete(f"/v1/conversations/{response['conversation']['id']}").status_code == 200
    with pytest.raises(Broken):
        list(stream)
    assert _told(owner.get(f"/v1/responses/{response['id']}"), 404)


def test_a_conversation_that_is_deleted_under_a_whole_response_is_told_and_is_no_response(
    owner: FlaskClient, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    conversation = owner.post("/v1/conversations", json={}).get_json()["id"]
    asked = {"model": "paused", "input": "Why?", "conversation": conversation}
    body = owner.post("/v1/responses", json=asked, buffered=False).iter_encoded()
    told = next(body)
    assert owner.delete(f"/v1/conversations/{conversation}").status_code == 200
    with pytest.raises(Broken):
        for piece in body:
            told += piece
    assert json.loads(told)["error"]["code"] == "unknown_response"
