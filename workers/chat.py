"""The task on the queue `chat`."""

from celery_config import TaskNames
from core.secret import parse_id
from workers.app import runtime
from workers.task import task
from workers.wakeups import wake_worker


# Acknowledged when taken: running it twice would pay for the answer twice. When the worker dies, the lease on
# the generation's row runs out and the reaper decides, not the queue; so there is no retry either.
@task(TaskNames.GENERATE, idempotent_by="generation_id", acks_late=False)
def generate(generation_id: str) -> None:
    """Write the answer whose turn it is: `generation_id`'s, or another that is first in the queue by now."""
    following = runtime.writer.run(parse_id(generation_id))
    if following is not None:
        wake_worker(following)
