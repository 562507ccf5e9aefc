"""Streams that are damaged, shuffled or made of other types: never another error than ours, never a stuck session,
never a model that others miss for it."""

import time
import tomllib
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings

from core.llm.catalog import ModelCatalog
from core.llm.client_pool import ClientPool
from core.llm.providers.base import MAX_COUNT, FinishReason
from tests.servers.case import CONCERNS_ALL, Case
from tests.servers.chats import Chats
from tests.servers.heard import check_said, hear
from tests.servers.mutations import mutated
from tests.servers.replay import CUTS, GOOD, Replay

REASONS = {None, *get_args(FinishReason)}
SECONDS = 5
"""In which a few hundred bytes have been read, on a busy machine."""


@pytest.fixture(autouse=True)
def _odd(replay: Replay) -> None:
    replay.cut = CUTS["in odd parts"]


def test_the_provider_layer_gives_chunks_or_its_own_errors(replay: Replay) -> None:
    pool = ClientPool(ModelCatalog.model_validate(tomllib.loads(replay.models_toml())), local_url="")

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(spoiled=mutated())
    def check(spoiled: tuple[str, Case]) -> None:
        spoken, replay.mutated = spoiled
        started = time.monotonic()
        heard = hear(pool, f"mutated-{spoken}")
        for text in (heard.text, heard.thinking):
            text.encode()
            assert "\x00" not in text
        assert heard.finish_reason in REASONS
        assert heard.usage is None or 0 <= heard.usage.total <= MAX_COUNT
        if heard.error:
            check_said(heard.error)
            assert heard.error.retry_after is None or heard.error.retry_after >= 0
        assert len(heard.text) + len(heard.thinking) <= len(replay.mutated.body), "no word is heard twice"
        assert time.monotonic() - started < SECONDS

    check()


def test_the_session_goes_on_whatever_came(chats: Chats, replay: Replay) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(spoiled=mutated())
    def check(spoiled: tuple[str, Case]) -> None:
        spoken, replay.mutated = spoiled
        chats.runtime.cooldowns.end(f"mutated-{spoken}")
        told = chats.with_model(f"mutated-{spoken}")
        assert told.events[-1][0] in ("done", "failed")
        assert told.text == told.message["text"]
        assert (told.message["state"] == "complete") == bool(told.text.strip() and told.events[-1][0] == "done")
        problem = told.message["problem"] or {}
        assert problem.get("type", "/problems/provider-failed") == "/problems/provider-failed"
        assert told.available or problem["reason"] in CONCERNS_ALL
        assert (told.next["text"], told.next["state"]) == (GOOD, "complete")
        assert not told.live

    check()
