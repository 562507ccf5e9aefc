"""What a span is, and what makes them, whoever exports them."""

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | int | float | bool | list[str]


class Span(Protocol):
    """Something that is being done. Its attributes are ids, names and figures: never words."""

    def set(self, attributes: Mapping[str, Value | None]) -> None:
        """Note attributes; what is None is not noted."""

    def fail(self, kind: str) -> None:
        """Note that it has failed, and with what kind of error."""

    def leave(self) -> None:
        """Be the current span no more, in the context in which it was opened. It may go on."""

    def end(self) -> None:
        """It is over."""


class Tracer(Protocol):
    """What makes spans."""

    def open(
        self, name: str, kind: Kind, attributes: Mapping[str, Value], parent: str | None, links: Iterable[str]
    ) -> Span:
        """Begin a span, which is the current one from here on. `parent` and `links` are traceparents; without a
        parent it is the span that is current."""

    def traceparent(self) -> str | None:
        """The current span, as W3C Trace Context writes it."""

    def stop(self) -> None:
        """Send what there is, if that takes no time worth mentioning."""
