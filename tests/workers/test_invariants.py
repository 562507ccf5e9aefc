"""The check of the invariants, as beat has a worker make it."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from celery import Celery
from sqlalchemy import update

from celery_config import TaskNames, beat_schedule
from core.operations.check_results import RESULT_TTL
from core.runtime import Runtime
from core.stores.tables import Generation
from tests.support.waiting import wait_for
from tests.workers.conversation import Conversation
from tests.workers.local_process import Worker


def test_a_worker_keeps_what_it_finds_and_names_what_is_broken(
    worker: Worker, conversation: Conversation, runtime: Runtime, celery_setup_app: Celery
) -> None:
    generation_id = conversation.say("Is anybody there?")
    conversation.ended()
    wait_for(lambda: _settled(runtime, generation_id) is not None, what="it is paid for")
    paid = _settled(runtime, generation_id)
    began = datetime.now(UTC)
    # Nothing that the reaper mends: the tests before may have asked for it to run.
    _settle(runtime, generation_id, 10**6)

    celery_setup_app.send_task(TaskNames.CHECK_INVARIANTS)

    def broken() -> int:
        checked = runtime.check_results.latest()
        return checked.broken["settled"] if checked and checked.at > began else 0

    assert wait_for(broken, what="the check's result is kept") == 1
    wait_for(lambda: f"(settled): {generation_id}" in worker.logs().replace("\n", " "), what="it is logged")
    _settle(runtime, generation_id, paid)


def _settled(runtime: Runtime, generation_id: UUID) -> int | None:
    with runtime.database.reading() as db:
        return db.get_one(Generation, generation_id).settled_tokens


def _settle(runtime: Runtime, generation_id: UUID, tokens: int | None) -> None:
    with runtime.database.writing() as db:
        db.execute(update(Generation).where(Generation.id == generation_id).values(settled_tokens=tokens))


def test_the_schedule_renews_a_result_well_before_it_is_forgotten() -> None:
    entry: Any = beat_schedule[TaskNames.CHECK_INVARIANTS]
    assert entry["task"] == TaskNames.CHECK_INVARIANTS
    assert entry["options"]["expires"] == entry["schedule"] <= RESULT_TTL / 3
