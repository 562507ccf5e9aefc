"""The ids of what is being done, which each line has that is logged meanwhile.

They belong to the context (PEP 567): to a thread, a greenlet, or a task of an event loop, which has those of the
thread that has made it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_ids: ContextVar[Mapping[str, str]] = ContextVar("log_ids", default=MappingProxyType({}))


def current_ids() -> Mapping[str, str]:
    """The ids, by the names of a line's fields."""
    return _ids.get()


def current_request_id() -> str | None:
    """The id of the request that this is done for."""
    return _ids.get().get("request_id")


def set_ids(**ids: str) -> None:
    """Log with these ids from here on, and with no others."""
    _ids.set(ids)


def add_ids(**ids: str) -> None:
    """Log with these ids too from here on."""
    _ids.set({**_ids.get(), **ids})


@contextmanager
def log_ids(**ids: str | None) -> Iterator[None]:
    """Log with these ids too until the end of the block; None is none."""
    before = _ids.set({**_ids.get(), **{name: value for name, value in ids.items() if value is not None}})
    try:
        yield
    finally:
        _ids.reset(before)
