"""The task on the queue `chat`."""

from uuid import UUID

from celery_config import TaskNames
from workers.app import app, runtime


# Acknowledged when taken: running it twice would pay for the answer twice. When the worker dies, the lease on
# the generation's row runs out and the reaper decides, not the queue.
@app.task(name=TaskNames.GENERATE, acks_late=False)
def generate(generation_id: str) -> None:
    """Write the answer, or as much of it as this worker has time for."""
    if runtime.writer.run(UUID(generation_id)):
        generate.delay(generation_id)
