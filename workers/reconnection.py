"""How a worker loses its broker and finds it again: with one line for each, and a pause between two tries.

Celery's own consumer connects anew at once, however soon the connection ends again: a broker that lets it in and then
refuses it a queue would be asked a hundred times a second.
"""

import logging
import time

from celery.exceptions import WorkerShutdown
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.connection import Connection

from broker.causes import told_of
from broker.queue_type import explain_mismatch, is_mismatch
from celery_config import BROKER_VARIABLE
from workers.liveness import CONSUMER, liveness

logger = logging.getLogger(__name__)

FORGOTTEN = 30.0
"""Seconds after which a loss does not count with the next one: the broker was well in between."""
LONGEST_PAUSE = 5
"""Seconds."""


class Consumer(CeleryConsumer):
    """Celery's consumer, which turns also while it tries to reach the broker, and ends over no error of the broker's
    but one: a queue of another type than the one that is configured."""

    _losses = 0
    _lost_at = float("-inf")

    def ensure_connected(self, conn: Connection) -> Connection:
        """Try until the broker is reached."""
        url = conn.as_uri(include_password=True)

        def report(error: Exception, seconds: float) -> None:
            logger.error("no connection to the broker, %s; next try in %g s", _told(error, url), seconds)

        connected: Connection = conn.ensure_connection(report, interval_max=LONGEST_PAUSE, callback=_turn)
        self.first_connection_attempt = False
        return connected

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Leave the connection, and pause if the one before it has ended as soon. Raises WorkerShutdown when a queue
        exists with another type."""
        self._leave(exc)
        super().on_connection_error_after_connected(exc)
        self._pause()

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Pause, as after a connection that has ended soon."""
        self._leave(exc)
        self._pause()

    def _leave(self, error: Exception) -> None:
        if is_mismatch(error):
            logger.critical("%s", explain_mismatch(error, self.app.conf.task_default_queue_type))
            raise WorkerShutdown(1) from None
        now = time.monotonic()
        self._losses = self._losses + 1 if now - self._lost_at < FORGOTTEN else 0
        self._lost_at = now
        url = self.conninfo.as_uri(include_password=True)
        logger.error("the connection to the broker is lost, %s; next try in %d s", _told(error, url), self._wait())

    def _wait(self) -> int:
        """Seconds before the next try: none after the first loss."""
        return min(self._losses and 2 ** (self._losses - 1), LONGEST_PAUSE)

    def _pause(self) -> None:
        for _ in range(self._wait()):
            _turn()
            time.sleep(1)


def _turn() -> None:
    liveness.turned(CONSUMER)
    state.maybe_shutdown()


def _told(error: Exception, url: str) -> str:
    return told_of(error, BROKER_VARIABLE, url)
