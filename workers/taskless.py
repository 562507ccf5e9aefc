"""The Celery application of processes that run no task: beat, which sends for them, and Flower, which watches them.

It knows the queues and nothing of the domain, which takes half of a worker's memory.
"""

from typing import Any

from celery import Celery, signals

from broker.connection import AMQP
from workers.observability import configure

app = Celery("switchboard", amqp=AMQP)
app.config_from_object("celery_config")


@signals.setup_logging.connect
def set_beat_up(**_: Any) -> None:
    """Log as beat. That somebody sets the logs up keeps Celery from it."""
    configure("beat")
