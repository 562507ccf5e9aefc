"""PATCH /session: what a holder sets for a session, over HTTP and down to what the model's server is asked with."""

import json
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from uuid_utils.compat import uuid7

from core.conversation.keys import keys
from core.errors import NotOwner
from core.runtime import Runtime
from core.stores.tables import Session
from tests.support.provider import ProviderServer
from tests.web.api.test_session import _answered, _create, _problem

CANARY = "canary7d20c4 speaks like a pirate. \N{PILE OF POO}"
SET = {"title": "Ships", "system_prompt": CANARY, "temperature": 0.25}
UNSET = dict.fromkeys(SET)


def _register(client: FlaskClient) -> FlaskClient:
    credentials = {"email": f"{uuid7()}@example.org", "password": "correct horse battery"}
    assert client.post("/auth/register", json=credentials).status_code == 201
    return client


@pytest.fixture(params=["a user's", "a guest's"])
def holder(request: pytest.FixtureRequest, client: FlaskClient) -> FlaskClient:
    """Somebody with a session."""
    if request.param == "a user's":
        _register(client)
    _create(client, model="good")
    return client


def _shown(client: FlaskClient, path: str) -> dict[str, Any]:
    answer = client.get(path).get_json()
    return {name: answer[name] for name in SET}


def _row(runtime: Runtime, session_id: str) -> dict[str, Any]:
    with runtime.database.reading() as db:
        row = db.get_one(Session, UUID(session_id))
    return {name: getattr(row, name) for name in SET}


def test_settings_are_shown_hold_for_the_next_answer_and_go_with_null(
    holder: FlaskClient, web_runtime: Runtime, provider: ProviderServer
) -> None:
    session = holder.get("/session/current").get_json()
    assert _shown(holder, "/session/current") == UNSET
    changed = holder.patch("/session", json=SET)
    assert (changed.status_code, {name: changed.get_json()[name] for name in SET}) == (200, SET)
    assert _shown(holder, "/session/current") == _shown(holder, "/session/export") == SET
    # What is not named stays.
    assert holder.patch("/session", json={"temperature": 0}).get_json()["title"] == "Ships"
    holder.post("/chat", json={"message": "Where to?"})
    _answered(holder)
    asked = next(each for each in provider.requests[::-1] if each["messages"][-1]["content"] == "Where to?")
    assert asked["temperature"] == 0
    assert asked["messages"][0] == {"role": "system", "content": f"Be kind.\n\n{CANARY}"}
    assert holder.patch("/session", json=UNSET).status_code == 200
    assert _shown(holder, "/session/export") == UNSET
    if not session["anonymous"]:
        return
    # Words of a guest's: only in Redis, only as long as the session.
    holder.patch("/session", json=SET)
    own = keys(UUID(session["session_id"]))
    assert _row(web_runtime, session["session_id"]) == UNSET
    assert CANARY.split()[0] in str(web_runtime.redis.hgetall(own.settings))
    assert web_runtime.redis.pttl(own.settings) > 0
    assert holder.delete("/session").status_code == 204
    assert not web_runtime.redis.exists(*own)


def test_instructions_are_as_long_as_the_description_says_in_any_script(holder: FlaskClient) -> None:
    schema = holder.get("/openapi.json").get_json()["components"]["schemas"]["ChangeSession"]
    (most,) = [each["maxLength"] for each in schema["properties"]["system_prompt"]["anyOf"] if "maxLength" in each]
    longest = "\N{PILE OF POO}" * most
    for body in (json.dumps({"system_prompt": longest}), json.dumps({"system_prompt": longest}, ensure_ascii=False)):
        changed = holder.patch("/session", data=body, content_type="application/json")
        assert changed.status_code == 200, changed.text[:500]
        assert _shown(holder, "/session/current")["system_prompt"] == longest


def test_a_claim_carries_settings_along_and_gives_a_title(client: FlaskClient, web_runtime: Runtime) -> None:
    session_id = _create(client, model="good")["session_id"]
    client.patch("/session", json={"system_prompt": CANARY, "temperature": 1.5})
    client.post("/chat", json={"message": "Why is the\nsky blue?"})
    _answered(client)
    _register(client)
    assert client.post("/session/claim", json={}).status_code == 200
    carried = {"title": "Why is the sky blue?", "system_prompt": CANARY, "temperature": 1.5}
    assert _row(web_runtime, session_id) == _shown(client, "/session/current") == carried
    assert not web_runtime.redis.exists(keys(UUID(session_id)).settings)


def test_a_change_that_comes_while_the_session_is_claimed_is_kept_or_refused(
    client: FlaskClient, web_runtime: Runtime
) -> None:
    session_id = UUID(_create(client)["session_id"])
    row = web_runtime.session_queries.find_session(session_id)
    assert row is not None
    late = {"title": "Late"}
    claim = web_runtime.actions.claims.claim

    def claimed(*args: Any) -> Any:
        result = claim(*args)
        web_runtime.guest_settings.change(session_id, late, row.expires_at)  # between the commit and what follows it
        return result

    _register(client)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(web_runtime.actions.claims), "claim", lambda _, *args: claimed(*args))
        assert client.post("/session/claim", json={}).status_code == 200
    assert _row(web_runtime, str(session_id))["title"] == "Late"
    # The guest's own request, which is still under way, is told that the session is another's.
    with pytest.raises(NotOwner):
        web_runtime.actions.change_settings(row, late)
    assert not web_runtime.redis.exists(keys(session_id).settings)


BAD: dict[str, tuple[dict[str, Any] | str, int, str]] = {
    "nothing": ({}, 422, "at least one of title, system_prompt and temperature"),
    "an unknown field": ({"prompt": "x"}, 422, "no field 'prompt'"),
    "a long title": ({"title": "x" * 201}, 422, "title: String should have at most 200"),
    "a title of two lines": ({"title": "a\nb"}, 422, "title: control characters"),
    "a blank title": ({"title": "   "}, 422, "title"),
    "long instructions": ({"system_prompt": "x" * 8193}, 422, "system_prompt: String should have at most 8192"),
    "long instructions of many bytes": (
        {"system_prompt": "\N{PILE OF POO}" * 8193},
        422,
        "system_prompt: String should have at most 8192",
    ),
    "no instructions": ({"system_prompt": ""}, 422, "system_prompt"),
    "instructions that nobody sees": ({"system_prompt": "\u200b\n"}, 422, "system_prompt"),
    "half a character": ('{"system_prompt": "\\ud83d"}', 422, "half a character"),
    "a list": ({"system_prompt": ["x"]}, 422, "system_prompt"),
    "a cold model": ({"temperature": -0.1}, 422, "temperature: Input should be greater than or equal to 0"),
    "a hot model": ({"temperature": 2.1}, 422, "temperature: Input should be less than or equal to 2"),
    "no number": ('{"temperature": NaN}', 422, "temperature"),
    "infinity": ('{"temperature": 1e999}', 422, "temperature"),
    "a number without end": (f'{{"temperature": {"9" * 4000}}}', 422, "temperature"),
    "a truth": ({"temperature": True}, 422, "temperature"),
    "a text": ({"temperature": "1"}, 422, "temperature"),
    "too much": ({"system_prompt": "x" * 140_000}, 413, "at most 131,072 bytes"),
}


def test_what_can_not_be_set_is_named(holder: FlaskClient) -> None:
    holder.patch("/session", json=SET)
    for name, (body, status, words) in BAD.items():
        text = body if isinstance(body, str) else json.dumps(body)
        problem = holder.patch("/session", data=text, content_type="application/json")
        assert problem.status_code == status, (name, problem.text)
        assert words in problem.get_json(force=True)["detail"], (name, problem.text)
    assert _shown(holder, "/session/current") == SET
    # NUL is no character that a database keeps; every other one is.
    kept = holder.patch("/session", json={"system_prompt": "a\0b", "title": None}).get_json()
    assert (kept["system_prompt"], kept["title"]) == ("a\N{REPLACEMENT CHARACTER}b", None)
    longest = "\N{PILE OF POO}" * 2048
    assert holder.patch("/session", json={"system_prompt": longest}).get_json()["system_prompt"] == longest


def test_what_redis_has_damaged_counts_as_not_set(client: FlaskClient, web_runtime: Runtime) -> None:
    own = keys(UUID(_create(client)["session_id"])).settings
    client.patch("/session", json=SET)
    web_runtime.redis.hset(own, mapping={"title": "{", "temperature": "1e999", "system_prompt": "[]"})
    assert _shown(client, "/session/current") == UNSET
    web_runtime.redis.delete(own)
    web_runtime.redis.set(own, "x")
    assert _shown(client, "/session/current") == UNSET
    assert client.patch("/session", json=SET).status_code == 200
    assert _shown(client, "/session/current") == SET
    _problem(client.patch("/session", json={"title": 1}), 422, "invalid-body")
