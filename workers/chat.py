"""The task on the queue `chat`."""

from uuid import UUID

from celery_config import TaskNames
from workers.app import app, runtime


# Acknowledged when taken: running it twice would pay for the answer twice. When the worker dies, the lease on
# the generation's row runs out and the reaper decides, not the queue.
@app.task(name=TaskNames.GENERATE, acks_late=False)
def generate(generation_id: str) -> None:
    """Write the answer."""
    runtime.generations.run(UUID(generation_id))
