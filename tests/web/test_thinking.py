"""What models think, and why answers ended, over HTTP."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.provider import ANSWER, THOUGHT, ProviderServer
from tests.support.told import Told
from tests.support.waiting import wait_for
from tests.web.api.test_chat import _stream, _until_end
from tests.web.sse import ServerEvent, events
from web.schemas.responses import Event, Export, Messages


def _told(events: list[Any], told: Told | None = None) -> Told:
    told = told or Told()
    for event in events:
        if event.type != "session":
            Event.model_validate({"event": event.type, "data": ""})
            told.hear(event.type, event.data)
    return told


def _asked(client: FlaskClient, message: str, model: str) -> Iterator[ServerEvent]:
    return events(client.post("/chat/sse", json={"message": message, "model": model}).iter_encoded())


@pytest.mark.parametrize("owned", [False, True], ids=["guest", "owned"])
def test_a_stream_a_page_and_an_export_tell_it_alike(client: FlaskClient, owned: bool) -> None:
    if owned:
        account = {"email": f"thinking-{id(client)}@example.org", "password": "correct horse battery"}
        assert client.post("/auth/register", json=account).status_code == 201
    told = _told(_until_end(_asked(client, "Why?", "thinks")))
    assert (told.text, told.thinking, told.end) == (ANSWER, THOUGHT, "done")
    page = client.get("/session/messages").get_json()
    Messages.model_validate(page)
    answer = page["messages"][-1]
    assert (answer["thinking"], answer["thinking_seconds"], answer["finish_reason"]) == (THOUGHT, 1, "stop")
    question = page["messages"][0]
    assert [question[name] for name in ("thinking", "thinking_seconds", "finish_reason", "problem")] == [None] * 4
    export = client.get("/session/export").get_json()
    Export.model_validate(export)
    assert [{**each, "siblings": [each["id"]]} for each in export["messages"]] == page["messages"]


def test_a_page_in_mid_thinking_and_the_events_after_it_are_the_whole(
    client: FlaskClient, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    client.post("/chat", json={"message": "Why?", "model": "thinks-slowly"})

    def thinks() -> Any:
        page = client.get("/session/messages").get_json()
        return (page["messages"][-1]["thinking"] or "").startswith("Hmm.") and page

    page = wait_for(thinks)
    seen = page["messages"][-1]
    assert (seen["state"], seen["finish_reason"]) == ("streaming", None)
    stream = _stream(client, headers={"Last-Event-ID": page["cursor"]})
    first = next(stream)
    assert (first.type, first.data["at"]) == ("thinking", len(seen["thinking"]))
    provider.go_on.set()
    told = _told([first, *_until_end(stream)], Told(seen["text"], seen["thinking"]))
    answer = client.get("/session/messages").get_json()["messages"][-1]
    assert (told.text, told.thinking) == (answer["text"], answer["thinking"])


def test_a_stop_in_mid_thinking_keeps_it(client: FlaskClient, provider: ProviderServer) -> None:
    provider.go_on.clear()
    client.post("/chat", json={"message": "Why?", "model": "thinks-slowly"})
    wait_for(
        lambda: (client.get("/session/messages").get_json()["messages"][-1]["thinking"] or "").startswith("Hmm.")
    )
    assert client.post("/chat/stop").status_code in (200, 202)

    def stopped() -> Any:
        answer = client.get("/session/messages").get_json()["messages"][-1]
        return answer["state"] == "stopped" and answer

    answer = wait_for(stopped, seconds=1)
    assert (answer["text"], answer["finish_reason"], answer["thinking_seconds"]) == ("", "stopped", 1)
    assert answer["thinking"].startswith("Hmm.")
    provider.go_on.set()


@pytest.mark.parametrize(
    ("model", "reason"),
    [("filtered", "filtered"), ("wants-a-tool", "empty"), ("blank", "empty"), ("away", "unreachable")],
)
def test_a_failure_is_told_by_the_stream_and_by_the_page_alike(client: FlaskClient, model: str, reason: str) -> None:
    got = _until_end(_asked(client, "Why?", model))
    failed = got[-1].data
    answer = client.get("/session/messages").get_json()["messages"][-1]
    assert (got[-1].type, answer["state"]) == ("failed", "failed")
    assert answer["problem"] == failed["problem"]
    assert answer["finish_reason"] == failed["finish_reason"]
    assert failed["problem"]["reason"] == reason
    again = _until_end(_asked(client, "Again?", "good"))
    assert again[-1].type == "done"
