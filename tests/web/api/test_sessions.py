"""GET /sessions and GET /sessions/events: the list, the search, and what is told of changes."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from uuid_utils.compat import uuid7

from core.runtime import Runtime
from core.stores.tables import Message, MessageWords
from tests.support.provider import ProviderServer
from tests.support.waiting import wait_for
from tests.web.api.test_session import _create, _problem
from tests.web.test_ownership import _person
from web.context import context_of


@pytest.fixture
def owner(app: Flask) -> FlaskClient:
    """Somebody who is logged in."""
    return _person(app)


def _listed(client: FlaskClient, query: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"/sessions{query}")
    assert answer.status_code == 200, answer.text
    return answer.get_json()["sessions"]  # type: ignore[no-any-return]


def _ids(client: FlaskClient, query: str = "") -> list[str]:
    return [each["session_id"] for each in _listed(client, query)]


def _found(client: FlaskClient, words: str, **more: Any) -> list[dict[str, Any]]:
    answer = client.get("/sessions", query_string={"q": words, **more})
    assert answer.status_code == 200, answer.text
    return answer.get_json()["sessions"]  # type: ignore[no-any-return]


def _ask(client: FlaskClient, session_id: str, message: str, model: str = "good") -> None:
    asked = client.post("/chat", json={"message": message, "model": model}, headers={"X-Session-ID": session_id})
    assert asked.status_code == 202, asked.text


def _ended(client: FlaskClient, session_id: str) -> None:
    wait_for(lambda: not next(each for each in _listed(client) if each["session_id"] == session_id)["answering"])


def test_the_list_is_in_the_order_of_messages_and_pages_hold_while_it_moves(owner: FlaskClient) -> None:
    made = [_create(owner)["session_id"] for _ in range(5)]
    assert _ids(owner) == made[::-1]
    _ask(owner, made[0], "First of all?")
    _ask(owner, made[3], "And then?")
    _ended(owner, made[0])
    _ended(owner, made[3])
    order = [made[3], made[0], made[4], made[2], made[1]]
    assert _ids(owner) == order
    first = owner.get("/sessions?limit=2").get_json()
    _ask(owner, made[1], "A latecomer?")  # moves to the top; the pages after go on where the first has ended
    rest = owner.get("/sessions", query_string={"limit": 2, "before": first["next"]}).get_json()
    assert [each["session_id"] for each in first["sessions"] + rest["sessions"]] == order[:4]
    for before in ("x", "1", f"{'9' * 17}-{made[0]}", f"9999999999999999-{'0' * 36}", f"²-{made[0]}", "-" * 5000):
        answer = owner.get("/sessions", query_string={"before": before})
        assert "before" in _problem(answer, 422, "invalid-body")["detail"]


def test_an_answer_is_new_until_it_is_read(owner: FlaskClient, app: Flask, provider: ProviderServer) -> None:
    session_id = _create(owner)["session_id"]
    named = {"X-Session-ID": session_id}
    (fresh,) = _listed(owner)
    assert (fresh["answering"], fresh["unread"]) == (False, False)
    _ask(owner, session_id, "Why?")
    _ended(owner, session_id)
    assert _listed(owner)[0]["unread"]
    # An older page is not where the answer stands; another's reading is none.
    _problem(_person(app).get("/session/messages", headers=named), 403, "not-owner")
    assert _listed(owner)[0]["unread"]
    assert owner.get("/session/messages", headers=named).status_code == 200
    assert not _listed(owner)[0]["unread"]
    # Neither is there anything new for who has listened to its end.
    streamed = owner.post("/chat/sse", json={"message": "And now?"}, headers=named).text
    assert "event:done" in streamed
    wait_for(lambda: not _listed(owner)[0]["unread"], what="it has been read with its events")
    provider.go_on.clear()
    _ask(owner, session_id, "Shall I stop it?", model="paused")
    assert owner.post("/chat/stop", headers=named).status_code == 202
    _ended(owner, session_id)
    provider.go_on.set()  # after the end: an answer that is told whole before its stop is seen has not been stopped
    assert not _listed(owner)[0]["unread"], "who has stopped it knows"
    _ask(owner, session_id, "And then?", model="away")
    _ended(owner, session_id)
    assert _listed(owner)[0]["unread"], "a failure is news as well"


HOSTILE = [
    '"',
    "'",
    "*",
    'a" OR "b',
    "x' OR 1=1 --",
    "NEAR(a b)",
    "a:*",
    "\0",
    "\\",
    "%",
    "(" * 200,
    "a AND",
    "^",
    "-",
]


def test_titles_and_words_are_found_and_shown_as_text(owner: FlaskClient, app: Flask, web_runtime: Runtime) -> None:
    stranger = _person(app)
    ships, weather, empty = (_create(owner)["session_id"] for _ in range(3))
    theirs = _create(stranger)["session_id"]
    _ask(stranger, theirs, "Do <b>ships</b> sink in 今天天气预报?")
    _ask(owner, ships, "Do <b>ships</b> & boats sink?")
    _ask(owner, weather, "今天天气预报说什么?")
    for client, session_id in ((owner, ships), (owner, weather), (stranger, theirs)):
        _ended(client, session_id)
    # At once, whatever the reaper has indexed so far.
    (found,) = _found(owner, "SHIP")
    assert found["session_id"] == ships
    assert [piece["text"] for piece in found["snippet"] if piece["hit"]] == ["ships"]
    assert "".join(piece["text"] for piece in found["snippet"]) == "Do <b>ships</b> & boats sink?"
    assert [each["session_id"] for each in _found(owner, "天气")] == [weather]
    assert [each["session_id"] for each in _found(owner, "Łódź wörld")] == [weather, ships], (
        "answers are searched too"
    )
    assert [each["session_id"] for each in _found(stranger, "sink")] == [theirs]
    assert _found(owner, "ships weather") == []
    # A title, and only the one that it has now.
    owner.patch("/session", json={"title": "Zeppelins"}, headers={"X-Session-ID": empty})
    assert [piece for piece in _found(owner, "zeppelin")[0]["snippet"] if piece["hit"]] == [
        {"text": "Zeppelins", "hit": True}
    ]
    owner.patch("/session", json={"title": "Balloons"}, headers={"X-Session-ID": empty})
    assert _found(owner, "zeppelin") == []
    assert _found(stranger, "balloons") == []
    page = owner.get("/sessions", query_string={"q": "world", "limit": 1}).get_json()
    assert [each["session_id"] for each in _found(owner, "world", before=page["next"])] == [ships]
    for words in HOSTILE:
        _found(owner, words)
    for blanks in ("", " ", "%20%09", "%E3%80%80"):
        assert len(_listed(owner, f"?q={blanks}")) == 3, "as without a query"
    owner.patch("/session", json={"title": "Party ⚓ 100 %"}, headers={"X-Session-ID": empty})
    for symbols in ("⚓", "party ⚓", "100%", "⚓ PARTY"):
        assert [each["session_id"] for each in _found(owner, symbols)] == [empty]
    assert _found(owner, "🎊") == []
    assert "201 characters" in _problem(owner.get("/sessions?q=" + "x" * 201), 422, "invalid-body")["detail"]
    # What is deleted is found no more, and nothing of it stays.
    assert owner.delete("/session", headers={"X-Session-ID": ships}).status_code == 204
    assert _found(owner, "boats") == []
    with web_runtime.database.reading() as db:
        assert db.query(MessageWords).filter(MessageWords.session_id == UUID(ships)).count() == 0


def test_old_messages_become_searchable_by_and_by_and_common_words_stay_in_order(
    owner: FlaskClient, web_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.sessions.search.MANY_HITS", 3)
    made = [_create(owner)["session_id"] for _ in range(5)]
    with web_runtime.database.writing() as db:
        for session_id in made:
            row = {"role": "user", "state": "complete", "created_at": datetime.now(UTC)}
            db.add(Message(id=uuid7(), session_id=UUID(session_id), text="common words", **row))
    assert [each["session_id"] for each in _found(owner, "common")] == made[::-1]
    assert [each["session_id"] for each in _found(owner, "common", limit=2)] == made[:2:-1]


def _events(app: Flask, client: FlaskClient) -> Iterator[tuple[str, dict[str, Any]]]:
    chunks = client.get("/sessions/events").iter_encoded()
    for chunk in chunks:
        lines = dict(line.split(":", 1) for line in chunk.decode().splitlines() if ":" in line)
        if "event" in lines:
            yield lines["event"], json.loads(lines["data"])


def test_one_stream_tells_of_all_sessions_and_of_no_others(app: Flask, owner: FlaskClient) -> None:
    stranger, other_tab = _person(app), app.test_client()
    other_tab.set_cookie("switchboard_login", owner.get_cookie("switchboard_login").value)  # type: ignore[union-attr]
    events = _events(app, other_tab)
    assert next(events) == ("reset", {"reason": "begin"})
    _ask(stranger, _create(stranger)["session_id"], "A stranger's secret?")
    request = {"model": "good", "messages": [{"role": "user", "content": "A single request's?"}]}
    assert owner.post("/v1/chat/completions", json=request).status_code == 200
    assert _ids(owner) == []
    session_id = _create(owner)["session_id"]
    named = {"X-Session-ID": session_id}
    owner.patch("/session", json={"title": "Ships"}, headers=named)
    owner.post("/session/model", json={"model": "good"}, headers=named)
    _ask(owner, session_id, "Why?")
    kinds = []
    for kind, data in events:
        assert data["session_id"] == session_id
        kinds.append((kind, {name: data[name] for name in ("title", "model", "state") if name in data}))
        if kind == "answered":
            break
    assert kinds == [
        ("created", {"model": "good"}),
        ("changed", {"title": "Ships"}),
        ("model", {"model": "good"}),
        ("answering", {"title": "Ships"}),
        ("answered", {"state": "done"}),
    ]
    owner.get("/session/messages", headers=named)
    assert next(events)[0] == "read"
    owner.delete("/session", headers=named)
    assert next(events) == ("deleted", {"session_id": session_id})
    # What has opened it ends: so does the stream.
    owner.post("/auth/logout", json={})
    _create(owner)
    assert [kind for kind, _ in events] == ["expired"]


def test_a_stream_that_may_have_missed_something_says_so(app: Flask, owner: FlaskClient) -> None:
    events = _events(app, owner)
    next(events)
    hub = context_of(app).hub
    (subscription,) = [each for some in hub._subscriptions.values() for each in some]
    subscription.miss()
    assert next(events) == ("reset", {"reason": "missed"})
    _problem(app.test_client().get("/sessions/events"), 401, "login-required")
