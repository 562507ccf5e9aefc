"""How a task is declared."""

from contextlib import nullcontext
from threading import Event, Thread

import pytest

from celery_config import TaskNames
from core.errors import Unavailable
from workers import chat, maintenance, sessions  # noqa: F401  they declare the tasks
from workers.app import app
from workers.retry import NO_RETRY, Retry
from workers.task import Command, SwitchboardTask, task

NAMES = TaskNames.ALL


@pytest.mark.parametrize("name", NAMES)
def test_every_task_has_the_base(name: str) -> None:
    assert isinstance(app.tasks[name], SwitchboardTask)
    assert isinstance(app.tasks[name], Command) == name.startswith("sessions.")


def test_there_is_no_other_task() -> None:
    assert {name for name in app.tasks if not name.startswith("celery.")} >= set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("maintenance.")])
def test_what_beat_sends_never_overlaps_itself(name: str) -> None:
    assert app.tasks[name].exclusive


def test_an_argument_that_recognises_a_second_delivery_exists() -> None:
    with pytest.raises(TypeError, match="no argument 'generation'"):
        task("test.misdeclared", idempotent_by="generation")(lambda session_id: None)


def test_a_retry_waits_ever_longer_and_ends() -> None:
    retry = Retry(times=3, delay=2.0)
    assert [retry.countdown(retries) for retries in range(4)] == [2.0, 4.0, 8.0, None]
    assert NO_RETRY.countdown(0) is None


def test_an_exclusive_task_is_skipped_while_it_runs() -> None:
    begun, go_on = Event(), Event()

    @task("test.exclusive", idempotent_by=None, exclusive=True)
    def exclusive() -> str:
        begun.set()
        assert go_on.wait(10)
        return "done"

    results: list[object] = []
    first = Thread(target=lambda: results.append(exclusive.deliver((), {})))
    first.start()
    assert begun.wait(10)
    assert exclusive.deliver((), {}) == (0, ["skipped"])
    go_on.set()
    first.join(10)
    assert results == [("done", ["succeeded"])]
    assert exclusive.deliver((), {}) == ("done", ["succeeded"])
    del app.tasks["test.exclusive"]


def test_a_store_that_is_away_is_no_unexpected_failure_where_the_broker_is_away_with_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @task("test.away", idempotent_by=None, retry=Retry(times=3, delay=2.0))
    def away() -> None:
        raise Unavailable(retry_after=2)

    away.push_request(id="some", called_directly=False, args=(), kwargs={}, delivery_info={})
    with app.connection_for_write("redis://127.0.0.1:1/0") as nowhere, monkeypatch.context() as patch:
        patch.setattr(app, "connection_or_acquire", lambda *_, **__: nullcontext(nowhere))
        with pytest.raises(Unavailable):
            away.deliver((), {})
    away.pop_request()
    assert "the broker takes no retry of it" in caplog.text
    del app.tasks["test.away"]
