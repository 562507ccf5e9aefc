"""What of Celery's message protocol a message must keep to.

Celery believes its headers. One of another type fails in the pool's thread, or in the timer, where nobody answers or
acknowledges the message: it holds its place until the worker ends, and the next worker's after it.
(https://docs.celeryq.dev/en/stable/internals/protocol.html, version 2)
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from celery.app.task import Context
from pydantic import BaseModel, ConfigDict, Field

LONGEST_WAIT = timedelta(hours=1)
"""How far off a message's time may be. Retries come within seconds; what waits longer holds a place of the worker's,
and the broker delivers it again meanwhile."""
EMBEDDED = {"callbacks", "errbacks", "chain", "chord"}
"""The tasks to come after one. None of ours has any."""


class Headers(BaseModel):
    """The headers that Celery reads. Its senders write no others of these names."""

    model_config = ConfigDict(strict=True)

    id: str
    task: str
    lang: str | None = None
    shadow: str | None = None
    eta: str | None = None
    expires: str | None = None
    group: str | None = None
    group_index: int | None = None
    retries: Annotated[int, Field(ge=0)] = 0
    timelimit: Annotated[list[float | None], Field(min_length=2, max_length=2)] | None = None
    root_id: str | None = None
    parent_id: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    origin: str | None = None
    ignore_result: bool | None = None
    replaced_task_nesting: Annotated[int, Field(ge=0)] = 0
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None


def require_call(headers: Mapping[str, Any], payload: Any) -> None:
    """Raises TypeError, ValueError or ArithmeticError for headers and a decoded body that are no task's."""
    eta = Headers.model_validate(headers).eta
    if eta is not None:
        _require_soon(eta)
    # The others become attributes of the request, whose own they would hide.
    if any(hasattr(Context, name) for name in headers.keys() - Headers.model_fields.keys()):
        raise TypeError("not a task's headers")
    args, kwargs, embedded = payload
    if not (isinstance(args, list) and isinstance(kwargs, dict) and isinstance(embedded, dict)):
        raise TypeError("not a task's arguments")
    if not embedded.keys() <= EMBEDDED or any(embedded.values()):
        raise TypeError("tasks to come after it")


def _require_soon(eta: str) -> None:
    when = datetime.fromisoformat(eta)
    when = (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    if not datetime.fromtimestamp(0, UTC) <= when <= datetime.now(UTC) + LONGEST_WAIT:
        raise ValueError("not a time to wait for")
