"""The events about tasks that Flower shows, published together."""

from time import monotonic

from celery.worker.consumer import Consumer

EVENTS_INTERVAL = 0.1
"""Seconds for which events gather. A message with some costs a worker a tenth of a short task, which has three:
received, started, succeeded."""


class EventGathering(Consumer):
    """Celery's consumer, which publishes events about tasks a few times a second, and not each as soon as it can."""

    _flush_expected_by = 0.0
    """Until then no other flush is needed. If a lost connection takes its timer along, an event sets another."""

    def on_send_event_buffered(self) -> None:
        """An event has been put into the buffer, by any thread. A flush that is expected takes it along."""
        if self.hub and monotonic() >= self._flush_expected_by:
            self._flush_expected_by = monotonic() + 2 * EVENTS_INTERVAL
            self.hub.call_soon(self.hub.call_later, EVENTS_INTERVAL, self._flush_gathered)

    def shutdown(self) -> None:
        """Publish what is left, and close."""
        self._flush_gathered()
        super().shutdown()

    def _flush_gathered(self) -> None:
        self._flush_expected_by = 0.0
        self._flush_events()
