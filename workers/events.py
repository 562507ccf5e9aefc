"""Events about tasks, for Flower: those of a moment are published together.

Celery publishes them at each turn of its event loop. Each question would cost up to three messages, one of them
before its worker begins.
"""

from typing import Any

from workers.undelivered import Consumer as ReplyingConsumer

FLUSH_INTERVAL = 0.1
"""Seconds for which events are gathered."""


class Consumer(ReplyingConsumer):
    """The consumer, which gathers events."""

    _flushes: Any = None

    def register_with_event_loop(self, hub: Any) -> None:
        """Begin to run on the event loop, which is done again with each connection."""
        super().register_with_event_loop(hub)
        if self._flushes is not None:
            self._flushes.cancel()
        self._flushes = hub.call_repeatedly(FLUSH_INTERVAL, self._flush_events)

    def on_send_event_buffered(self) -> None:
        """Leave the event for the next time that events are published."""
