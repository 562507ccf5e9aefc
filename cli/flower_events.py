"""What Flower is told by the workers, over the broker, and what it keeps of that in a file."""

import dbm
import logging
import time
from contextlib import AbstractContextManager
from typing import Any

from celery.events import EventReceiver
from flower import events
from flower.events import EventsState

from broker.causes import BrokerAway, translate_errors

logger = logging.getLogger(__name__)

PAUSE = 5
"""Seconds between two tries to hear the workers. Flower's own pause doubles each time, up to days."""


class Events(events.Events):  # type: ignore[misc]
    """What it knows, kept in a file where that is possible. A broker that is away is one line for each try."""

    def __init__(self, *args: Any, broker_variable: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self._broker_variable = broker_variable

    def run(self) -> None:
        """Hear the workers, as long as the process lives."""
        while True:
            try:
                with self._broker(), self.capp.connection() as connection:
                    receiver = EventReceiver(connection, handlers={"*": self.on_event}, app=self.capp)
                    receiver.capture(limit=None, timeout=None, wakeup=True)
            except BrokerAway as error:
                logger.error("the workers can't be heard, %s; next try in %d s", error.reason, PAUSE)
            except Exception:
                logger.exception("the workers can't be heard; next try in %d s", PAUSE)
            time.sleep(PAUSE)

    async def on_enable_events(self) -> None:
        """Ask workers that have come since to tell of what they do."""
        try:
            with self._broker():
                await self.io_loop.run_in_executor(None, self.capp.control.enable_events)
        except BrokerAway as error:
            logger.warning("the workers can't be asked, %s", error.reason)

    def _broker(self) -> AbstractContextManager[None]:
        return translate_errors(self._broker_variable, self.capp.conf.broker_url)

    def load_state(self) -> EventsState | None:
        """What there is of it. A file that can neither be read nor moved away is left where it is."""
        try:
            return super().load_state()
        except OSError as error:
            logger.warning("the history can't be read from %s: %s", self.db, error)
            return None

    def save_state(self) -> None:
        """Write the history; on a full or a read-only disk, that of before stays."""
        try:
            super().save_state()
        except dbm.error as error:  # OSError is one of them
            logger.warning("the history can't be written to %s: %s", self.db, error)
