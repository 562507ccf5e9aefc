"""beat's scheduler: Celery's, without its file, and without a page of traceback for each task that can't be sent."""

import logging
from typing import Any

from celery import beat

logger = logging.getLogger(__name__)


class Scheduler(beat.Scheduler):
    """Sends what is due. What can't be sent is made up for by its next period."""

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send one task, if the broker takes it."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:  # every transport has errors of its own
            logger.error("%s could not be sent: %s", entry.task, type(error.__context__ or error).__name__)
