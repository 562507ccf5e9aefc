"""A worker that was frozen for a while, or whose machine was: the model is not to blame for what was not heard."""

import logging
import threading

import pytest

from core.runtime import Runtime
from tests.core.generation.asking import ask
from tests.support.provider import ProviderServer
from tests.support.waiting import wait_for

STANDSTILL = 1.5
"""Seconds: longer than the model may be silent between two words."""


def test_a_process_that_stood_still_takes_its_own_silence_for_no_failure_of_the_model(
    runtime: Runtime, provider: ProviderServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.generation.model_call.MAX_GAP", 1.0)
    assert runtime.models.config("quiet").between_tokens_timeout < 1.0
    provider.go_on.clear()
    asked, before = ask(runtime, "quiet"), len(provider.requests)

    async def stand_still() -> None:
        threading.Event().wait(STANDSTILL)

    with caplog.at_level(logging.INFO):
        writer = asked.write()
        wait_for(lambda: asked.written().text, what="the answer has begun")
        runtime.event_loop.run(stand_still())
        wait_for(lambda: "the process stood still" in caplog.text, what="it has noticed")
        provider.go_on.set()
        writer.join(20)
    assert asked.message().text == "Wait for it"
    assert asked.kinds()[-1] == "done"
    assert len(provider.requests) == before + 1
