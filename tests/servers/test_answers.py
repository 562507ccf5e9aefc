"""Each recorded stream through the whole chain: what readers are told, what is kept, who may still ask the model, and
that the session goes on."""

from itertools import pairwise
from typing import Any

import pytest

from core.llm.providers.base import ErrorKind, Usage
from tests.servers.case import Case
from tests.servers.chats import Chats
from tests.servers.replay import GOOD, Replay
from tests.servers.streams import CASES
from web.schemas.responses import Message

every_case = pytest.mark.parametrize("name", CASES)


@pytest.fixture(autouse=True)
def _whole(replay: Replay) -> None:
    replay.cut = lambda case: [case.body]


def _text(case: Case) -> str:
    """Of the message: blanks are no answer."""
    if case.refuses:
        return GOOD
    return case.text if case.text.strip() else ""


@every_case
def test_readers_are_told_what_is_kept(chats: Chats, name: str) -> None:
    case, told = CASES[name], chats.about(name)
    kind, end = told.events[-1]
    assert kind == ("failed" if case.failure else "done")
    assert sum(kind in ("done", "failed", "stopped") for kind, _ in told.events) == 1
    assert told.text == told.message["text"] == _text(case)
    assert told.thinking == (told.message["thinking"] or "")
    assert end["length"] == len(told.text)
    if case.failure:
        assert end["problem"] == told.message["problem"]
    else:
        assert (end["finish_reason"], told.message["problem"]) == (told.message["finish_reason"], None)
        _check_usage(case, Usage(**end["usage"]), told.charged)
    _check_message(case, told.message)


def _check_message(case: Case, message: dict[str, Any]) -> None:
    Message(**message)
    assert message["state"] == ("failed" if case.failure else "complete")
    assert message["finish_reason"] == case.told_reason
    # One that broke off was asked to go on, and thought again.
    assert (message["thinking"] or "").startswith(case.thinking)
    assert bool(message["thinking_seconds"]) == bool(message["thinking"])
    if case.failure:
        problem = message["problem"]
        assert problem["type"].endswith("/provider-failed")
        assert (problem["reason"], problem["model"]) == (case.failure, message["model"])
    if case.error is ErrorKind.TOO_LONG:
        _check_figures(case, message["problem"])


def _check_figures(case: Case, problem: dict[str, object]) -> None:
    tokens, limit = problem["tokens"], problem["limit"]
    assert isinstance(tokens, int)
    assert isinstance(limit, int)
    assert (tokens, limit) == (case.tokens or tokens, case.limit or limit)
    # What the provider takes is for the answer, too: figures by which the message would fit explain nothing.
    for figure in (tokens, limit):
        assert (f"{figure:,} " in f"{problem['detail']} ".replace(".", " ")) == (tokens > limit)


def _check_usage(case: Case, usage: Usage, charged: int | None) -> None:
    """Each token once."""
    if case.refuses or not case.usage:
        return
    assert usage[:2] == case.usage[:2]
    if case.usage.reasoning_tokens or not case.thinking:
        assert usage.reasoning_tokens == case.usage.reasoning_tokens
    else:  # few say how much of it was thinking
        assert 0 < usage.reasoning_tokens <= usage.completion_tokens
    assert charged == case.usage.total


@every_case
def test_a_model_rests_only_for_what_concerns_all(chats: Chats, name: str) -> None:
    assert chats.about(name).available is not CASES[name].rests


@every_case
def test_the_session_goes_on_with_the_next_message(chats: Chats, name: str) -> None:
    told = chats.about(name)
    assert (told.next["text"], told.next["state"], told.next["finish_reason"]) == (GOOD, "complete", "stop")
    assert not told.live
    roles = [turn["role"] for turn in told.asked_next]
    assert roles[0] == roles[-1] == "user"
    assert all(one != other for one, other in pairwise(roles))
    assert all(turn["content"].strip() for turn in told.asked_next)
