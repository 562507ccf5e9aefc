"""Scripts know their keys and arguments by name: on a real Valkey."""

from typing import NamedTuple, get_type_hints
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from core.conversation import event_log_scripts as scripts
from core.conversation.event_log_scripts import LogScript
from core.conversation.keys import Keys, keys
from core.conversation.partial_answer import Delta, Size
from core.conversation.position import Producer
from core.stores.redis import AsyncScripts, Redis
from tests.support.reading import LOOP
from tests.support.valkey import Valkey


class _Some(NamedTuple):
    words: str
    number: int
    yes: bool


class _More(NamedTuple):
    no: bool
    id: UUID


def test_each_argument_has_the_name_of_its_field_and_its_type(redis: Redis) -> None:
    session_id, other = uuid7(), uuid7()
    body = "\nreturn {words .. type(words), number + 1, yes and 1 or 0, no and 1 or 0, id}"
    script = LogScript(redis, body, _Some, _More)
    returned = script(session_id, _Some("Grüße", 2**40, True), _More(False, other))
    assert returned == ["Grüßestring", 2**40 + 1, 1, 0, str(other)]


def test_one_round_trip_runs_it_for_many_sessions_also_when_the_server_has_forgotten_it(
    redis: Redis, valkey: Valkey
) -> None:
    script = LogScript(redis, "\nreturn {meta_key, no and 1 or 0, id}", _More)
    sessions, other = [uuid7() for _ in range(3)], uuid7()
    redis.script_flush()
    together = AsyncScripts(valkey.url)
    calls = [script.call(session_id, _More(True, other)) for session_id in sessions]
    assert LOOP.run(together.run(calls)) == [[keys(session_id).meta, 1, str(other)] for session_id in sessions]
    LOOP.run(together.close())


@pytest.mark.parametrize("name", Keys._fields)
def test_each_key_has_the_name_of_its_field(redis: Redis, name: str) -> None:
    session_id = uuid7()
    assert LogScript(redis, f"\nreturn {name}_key")(session_id) == getattr(keys(session_id), name)


@pytest.mark.parametrize(
    "arguments",
    [
        (scripts.Announcement, scripts.NewLog, Producer, scripts.Beginning),
        (scripts.Announcement, Producer, Size, Delta),
        (scripts.Announcement, Producer, Size, scripts.Ending),
        (Producer, scripts.Reset),
    ],
)
def test_no_argument_hides_another(arguments: tuple[type, ...]) -> None:
    names = [name for each in arguments for name in get_type_hints(each)]
    names += [f"{name}_key" for name in Keys._fields]
    assert len(set(names)) == len(names)
