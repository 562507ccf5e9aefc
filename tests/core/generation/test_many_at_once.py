"""Many answers in one process: all are under way at once, and what befalls one concerns no other."""

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from core.conversation.keys import keys
from core.generation.attempts import Attempt, Owned
from core.generation.heartbeat import Heartbeats
from core.runtime import Runtime
from core.settings import Settings
from core.stores.tables import Generation, GenerationState
from tests.core.generation.asking import Asked, ask
from tests.support.provider import ANSWER, Handler, ProviderServer
from tests.support.waiting import wait_for

MANY = 64
LONG = 2_000_000
"""Characters that a server says at once, which is more than an answer may have."""


def _begins(handler: Handler) -> None:
    """Says a word, and no more until its test goes on."""
    handler.begin()
    handler.chunk("Well")
    while not handler.owner.go_on.wait(0.1):
        pass
    handler.chunk(", yes.")
    handler.conclude()


def _is_frozen(handler: Handler) -> None:
    handler.connection.recv(1)


def _says_too_much(handler: Handler) -> None:
    handler.begin()
    for _ in range(LONG // 50_000):
        handler.chunk("x" * 50_000)
    handler.conclude()


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """A server with these manners."""
    server = ProviderServer({"begins": _begins, "frozen": _is_frozen, "says-too-much": _says_too_much})
    yield server
    server.stop()


@pytest.fixture
def runtime(settings: Settings, server: ProviderServer, tmp_path: Any) -> Iterator[Runtime]:
    """A process with few connections to its database, as a chat worker has."""
    path = tmp_path / "many.toml"
    tables = [
        f'[models.{name}]\nlabel = "{name}"\nprovider = "openai"\nmodel = "{name}"\nbase_url = "{server.url}"\n'
        "max_concurrency = 200\ncontext_tokens = 2000000\nmax_tokens = 1000000\nfirst_token_timeout = 60\n"
        for name in ("begins", "frozen", "says-too-much", "good")
    ]
    path.write_text('default = "begins"\n' + "\n".join(tables))
    server.go_on.clear()
    parts = Runtime(settings.model_copy(update={"models_path": path}), pool_size=2, queue_timeout=30)
    yield parts
    parts.writer.stopping.set()
    parts.close()


def _write(answers: Sequence[Asked]) -> list[threading.Thread]:
    return [asked.write() for asked in answers]


def _begun(answers: Sequence[Asked]) -> bool:
    return all(asked.written().text for asked in answers)


def _ended(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_all_are_under_way_at_once_beside_one_that_is_frozen_and_one_that_says_too_much(
    runtime: Runtime, server: ProviderServer
) -> None:
    frozen = ask(runtime, "frozen")
    (at_a_loss,) = _write([frozen])
    answers = [ask(runtime, "begins", owned=number % 2 == 0) for number in range(MANY)]
    threads = _write(answers)
    wait_for(lambda: _begun(answers), seconds=30, what="all are under way")
    flood = ask(runtime, "says-too-much")
    flooded = _write([flood])
    quick = ask(runtime, "good")
    _ended(_write([quick]))
    assert quick.message().text == ANSWER, "answered beside all of them"
    server.go_on.set()
    _ended([*threads, *flooded])
    assert {(asked.message().text, asked.message().state) for asked in answers} == {("Well, yes.", "complete")}
    assert (len(flood.message().text), flood.message().finish_reason) == (1_000_000, "length")
    assert frozen.row().state == GenerationState.RUNNING
    runtime.generations.stop(frozen.session)
    _ended([at_a_loss])
    assert frozen.kinds()[-1] == "stopped"


def test_one_is_stopped_within_a_second_and_the_others_are_handed_off_when_the_process_is_told_to_stop(
    runtime: Runtime,
) -> None:
    answers = [ask(runtime, "begins") for _ in range(MANY)]
    threads = _write(answers)
    wait_for(lambda: _begun(answers), seconds=30, what="all are under way")
    stopped, *others = answers
    asked_at = time.monotonic()
    runtime.generations.stop(stopped.session)
    wait_for(lambda: stopped.kinds()[-1] == "stopped", what="one has stopped")
    assert time.monotonic() - asked_at < 1
    assert stopped.message().text == "Well"

    runtime.writer.stopping.set()
    _ended(threads)
    assert {(asked.row().state, asked.row().attempt) for asked in others} == {(GenerationState.QUEUED, 1)}
    assert {asked.written().text for asked in others} == {"Well"}


def test_leases_are_renewed_together_and_one_that_is_lost_ends_no_other(
    runtime: Runtime, server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: list[int] = []
    renew_all = runtime.attempts.renew_all

    def counted(attempts: Sequence[Attempt]) -> Owned:
        renewed.append(len(attempts))
        return renew_all(attempts)

    monkeypatch.setattr(runtime.attempts, "renew_all", counted)
    answers = [ask(runtime, "begins") for _ in range(8)]
    threads = _write(answers)
    wait_for(lambda: _begun(answers), seconds=30, what="all are under way")
    until = answers[1].row().lease_until
    lost, *others = answers
    with runtime.database.writing() as db:
        db.get_one(Generation, lost.generation_id).attempt = 2
    runtime.heartbeats.renew()
    wait_for(lambda: sum(thread.is_alive() for thread in threads) == 7, what="the one that has lost gives up")
    assert 8 in renewed
    assert all(asked.row().lease_until > until for asked in others)
    assert lost.kinds()[-1] == "started"
    server.go_on.set()
    _ended(threads)
    assert {asked.message().text for asked in others} == {"Well, yes."}


def test_a_log_that_is_lost_or_fenced_concerns_no_other(runtime: Runtime, server: ProviderServer) -> None:
    answers = [ask(runtime, "begins", owned=True) for _ in range(8)]
    threads = _write(answers)
    wait_for(lambda: _begun(answers), seconds=30, what="all are under way")
    lost, fenced, *others = answers
    runtime.redis.delete(*keys(lost.session.id))
    runtime.log.take_over(fenced.session.id, fenced.generation_id, 2)
    server.go_on.set()
    _ended(threads)
    assert {asked.message().text for asked in (lost, *others)} == {"Well, yes."}
    assert fenced.kinds()[-1] == "started"


def test_snapshots_are_kept_together_and_one_that_can_not_be_ends_only_its_own(
    runtime: Runtime, server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.generation.heartbeat.SNAPSHOT_INTERVAL", 0.1)
    answers = [ask(runtime, "begins", owned=True) for _ in range(8)]
    poisoned, *others = answers
    keep = runtime.transcript.keep

    def kept(message: Any, *args: Any, **options: Any) -> None:
        if message.id == str(poisoned.generation_id) and message.state == "streaming":
            raise RuntimeError("it can't be kept")
        keep(message, *args, **options)

    monkeypatch.setattr(runtime.transcript, "keep", kept)
    threads = _write(answers)
    wait_for(
        lambda: all(runtime.transcript.snapshot(asked.generation_id).text == "Well" for asked in others),
        seconds=20,
        what="snapshots of all others",
    )
    wait_for(lambda: poisoned.kinds()[-1] == "failed", what="its end")
    server.go_on.set()
    _ended(threads)
    assert {asked.message().text for asked in others} == {"Well, yes."}


def test_the_thread_of_the_heartbeats_ends_with_the_last_answer(runtime: Runtime) -> None:
    assert isinstance(runtime.heartbeats, Heartbeats)
    _ended(_write([ask(runtime, "good")]))
    wait_for(
        lambda: not [each for each in threading.enumerate() if each.name == "heartbeat"], what="no thread is left"
    )
