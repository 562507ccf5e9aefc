"""Answers that a person has another model carry on while they are written."""

import random
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from core.errors import SwitchboardError
from core.generation import usage
from core.generation.finalizer import Outcome
from core.runtime import Runtime
from core.sessions.actions import Switch
from core.settings import Settings
from core.stores.tables import GenerationState, Session
from tests.conftest import TurnableClock
from tests.core.generation.asking import Asked, ask
from tests.support.provider import ANSWER, HALF, STORY, ProviderServer
from tests.support.waiting import wait_for


@pytest.fixture
def runtime(settings: Any, clock: TurnableClock) -> Iterator[Runtime]:
    """A process whose clock the test turns."""
    parts = Runtime(settings, clock=clock)
    yield parts
    parts.close()


@pytest.fixture
def second(settings: Any, clock: TurnableClock) -> Iterator[Runtime]:
    """Another process."""
    parts = Runtime(settings, clock=clock)
    yield parts
    parts.close()


def _hand_over(asked: Asked, model: str, command_id: UUID | None = None, *, live: bool = True) -> Session:
    session = asked.session
    switch = Switch(session.id, model, session.owner_id, None, command_id or uuid7(), live)
    (switched,) = asked.runtime.actions.switch_models([switch])
    assert not isinstance(switched, SwitchboardError)
    return switched


def _told(asked: Asked) -> list[dict[str, Any]]:
    told = [dict(data) for kind, data in asked.events() if kind == "handover"]
    return [{name: data[name] for name in ("from", "to", "at")} for data in told]


@pytest.mark.parametrize("owned", [False, True])
def test_another_model_carries_the_answer_on(runtime: Runtime, provider: ProviderServer, owned: bool) -> None:
    provider.go_on.clear()
    provider.disconnected.clear()
    asked = ask(runtime, "paused", owned=owned)
    writer = asked.write()
    wait_for(lambda: asked.written().text.startswith("Wait."))
    assert _hand_over(asked, "story").last_model == "story"
    writer.join(20)
    assert provider.disconnected.wait(5), "the call to the model before is closed"
    assert asked.kinds() == ["queued", "started", "handover", "done"]
    (handover,) = _told(asked)
    at = handover["at"]
    assert handover == {"from": "paused", "to": "story", "at": at}
    message = asked.message()
    assert (message.model, message.state, message.handovers) == ("story", "complete", [handover])
    assert message.text[:at].rstrip(".") == "Wait"
    assert message.text[at:] == STORY[at:]
    row = asked.row()
    assert (row.handovers, row.handover_to, row.answered_by) == ([handover], None, "story")
    prompt = sum(map(usage.tokens, ("Be kind.", "Why?")))
    assert row.prompt_tokens == 2 * prompt, "each model has been sent it"


def test_before_the_first_word_the_new_model_simply_answers(runtime: Runtime, provider: ProviderServer) -> None:
    provider.go_on.clear()
    asked = ask(runtime, "thinks-slowly")
    writer = asked.write()
    wait_for(lambda: asked.written().thinking)
    _hand_over(asked, "good")
    writer.join(10)
    assert asked.kinds() == ["queued", "started", "handover", "done"]
    message = asked.message()
    assert (message.text, message.thinking, message.model) == (ANSWER, None, "good")


def test_a_queued_answer_is_the_new_models_and_one_that_has_ended_stays(runtime: Runtime) -> None:
    asked = ask(runtime, "silent")
    _hand_over(asked, "good")
    assert asked.message().model == "good", "also for who reads the conversation meanwhile"
    asked.write().join(10)
    assert asked.kinds() == ["queued", "started", "done"]
    assert (asked.message().text, asked.row().model) == (ANSWER, "good")
    assert _hand_over(asked, "goes-on").last_model == "goes-on"
    assert (asked.message().model, asked.message().handovers) == ("good", None)


def test_there_and_back_and_what_is_not_wanted_any_more(runtime: Runtime, provider: ProviderServer) -> None:
    provider.go_on.clear()
    asked = ask(runtime, "paused")
    writer = asked.write()
    wait_for(lambda: asked.written().text.startswith("Wait."))
    command = uuid7()
    _hand_over(asked, "thinks-slowly", command)
    wait_for(lambda: len(_told(asked)) == 1)
    _hand_over(asked, "thinks-slowly", command)  # delivered again
    _hand_over(asked, "thinks-slowly")  # the same model
    with runtime.database.writing() as db:  # wanted and no longer wanted, before the worker looks
        assert runtime.actions.answers.want_handover(asked.session.id, "good", db)
        assert runtime.actions.answers.want_handover(asked.session.id, "thinks-slowly", db)
    _hand_over(asked, "paused")
    wait_for(lambda: len(_told(asked)) == 2)
    provider.go_on.set()
    writer.join(10)
    assert [(each["from"], each["to"]) for each in _told(asked)] == [
        ("paused", "thinks-slowly"),
        ("thinks-slowly", "paused"),
    ]
    assert asked.message().model == "paused"
    assert asked.kinds().count("done") == 1


def test_a_model_that_fails_gives_the_answer_back(runtime: Runtime, provider: ProviderServer) -> None:
    provider.go_on.clear()
    asked = ask(runtime, "paused")
    writer = asked.write()
    wait_for(lambda: asked.written().text.startswith("Wait."))
    _hand_over(asked, "broken")
    wait_for(lambda: "fallback" in asked.kinds())
    provider.go_on.set()
    writer.join(10)
    assert asked.kinds() == ["queued", "started", "handover", "fallback", "done"]
    message = asked.message()
    assert (message.model, message.state, len(message.handovers or [])) == ("paused", "complete", 1)
    assert message.text.startswith("Wait.")


@pytest.mark.parametrize("noticed", [False, True], ids=["wanted", "noted in the row"])
def test_the_next_worker_makes_the_handover_that_the_lost_one_did_not_tell(
    runtime: Runtime, second: Runtime, clock: TurnableClock, noticed: bool
) -> None:
    asked = ask(runtime, "prefilled-stalled")
    attempt = runtime.attempts.claim(asked.generation_id)
    assert attempt is not None
    runtime.event_loop.run(runtime.generation_events.append_started(attempt))
    runtime.event_loop.run(runtime.generation_events.append_delta(attempt, ANSWER[:HALF], 0))
    _hand_over(asked, "goes-on")
    if noticed:
        assert runtime.attempts.hand_over(attempt, "goes-on")
        assert runtime.attempts.hand_over(attempt, "goes-on") is None, "once"
    clock.turn(timedelta(seconds=11))  # its worker is dead
    second.reaper.reap()
    second.writer.run()
    assert sorted(asked.kinds()) == sorted(["queued", "started", "handover", "resumed", "done"])
    assert _told(asked) == [{"from": "prefilled-stalled", "to": "goes-on", "at": HALF}]
    message = asked.message()
    assert (message.text, message.model, len(message.handovers or [])) == (ANSWER, "goes-on", 1)


def test_an_answer_that_ends_first_has_no_handover(runtime: Runtime) -> None:
    asked = ask(runtime, "good")
    attempt = runtime.attempts.claim(asked.generation_id)
    assert attempt is not None
    _hand_over(asked, "goes-on")
    runtime.finalizer.finalize(attempt, Outcome(GenerationState.STOPPED))
    assert (asked.kinds(), asked.row().handovers) == (["queued", "stopped"], None)


def _work(runtime: Runtime) -> None:
    """What a chat worker's thread does until nothing waits."""
    while runtime.writer.run() is not None:
        pass


MODELS = ("story", "repeated-story")
"""With a prefilled answer, and without, where the server repeats itself."""


@pytest.fixture
def patient(settings: Settings, tmp_path: Path) -> Iterator[Runtime]:
    """A process whose models may be slow: no answer is to fail because the machine is."""
    models = tmp_path / "patient.toml"
    impatient = re.compile(r"^(first_token|between_tokens|connect)_timeout = .*$", re.MULTILINE)
    models.write_text(impatient.sub(r"\1_timeout = 30.0", settings.models_path.read_text()))
    parts = Runtime(settings.model_copy(update={"models_path": models}))
    yield parts
    parts.close()


@pytest.mark.one_database
def test_a_hundred_answers_are_handed_over_at_random_moments(patient: Runtime, provider: ProviderServer) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    moments = [chance.uniform(0, 1.6) for _ in range(100)]
    provider.chance = random.Random(seed)

    def one(number: int) -> Asked:
        first, then = MODELS[number % 2], MODELS[(number + 1) % 2]
        asked = ask(patient, first, owned=number % 4 > 1)
        writer = threading.Thread(target=_work, args=(patient,))
        writer.start()
        threading.Event().wait(moments[number])
        _hand_over(asked, then)
        writer.join(60)  # which may have written another one
        wait_for(lambda: asked.row().finished_at, seconds=60)
        return asked

    with ThreadPoolExecutor(25) as together:
        all_asked = list(together.map(one, range(100)))
    carried_on = 0
    for asked in all_asked:
        message = asked.message()
        assert (message.text, message.state) == (STORY, "complete")
        assert asked.kinds().count("done") == 1
        told = _told(asked)
        assert (message.handovers or []) == told
        assert len(told) <= 1
        if told:
            carried_on += 1
            assert {told[0]["from"], told[0]["to"]} == set(MODELS)
        at = 0
        for kind, data in asked.events():
            if kind == "delta":
                assert data["at"] == at
                at += len(data["text"])
    assert carried_on > 50
