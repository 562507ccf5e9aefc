"""Items of a background job whose handling has failed: each is passed over for a while, and the others go on.

The usual cases are a row that can't be decoded, a constraint that refuses a change, and a key of the wrong type in
Redis. Kept in the process's memory: after a restart everything is tried anew.
"""

import logging
import traceback
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

from core.clock import Clock
from core.errors import Unavailable
from core.stores.redis import RedisDamaged

logger = logging.getLogger(__name__)

FIRST_DELAY = timedelta(seconds=5)
"""After an item's second failure in a row, doubled with each further one. The first delays nothing: the next run
tries again, for most failures are no fault of the item's."""
MAX_DELAY = timedelta(minutes=10)
MAX_DELAY_UNAVAILABLE = timedelta(minutes=1)
"""The longest delay of an item that failed because a store did not answer: that may be the store's fault alone."""
MAX_UNAVAILABLE = 3
"""Items in a row for which a store has not answered, after which the store is taken to be away."""
MAX_ITEMS = 1000
"""Items that are remembered, those that failed last. It bounds the statements that leave them out, too."""

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")


class _Failures(NamedTuple):
    in_a_row: int
    retry_at: datetime


class _Failed(NamedTuple, Generic[Item]):
    item: Item
    error: Exception
    in_a_row: int
    wait: timedelta


class Quarantine(Generic[Item]):
    """The failed items of one job."""

    def __init__(self, job: str, clock: Clock, on_failure: Callable[[str], None]) -> None:
        """`on_failure` is called with the job's name for each failure of an item's own, to count it."""
        self._job = job
        self._clock = clock
        self._on_failure = on_failure
        self._lock = Lock()
        self._failures: dict[Item, _Failures] = {}

    def held(self) -> set[Item]:
        """The items that are not to be tried now. The job's query leaves them out, or they would fill its batches."""
        now = self._clock.now()
        with self._lock:
            return {item for item, failure in self._failures.items() if failure.retry_at > now}

    def failed(self) -> set[Item]:
        """The items whose last handling has failed."""
        with self._lock:
            return set(self._failures)

    def for_each(self, items: Iterable[Item], handle: Callable[[Item], Result]) -> list[Result]:
        """Handle each item that is not held, and return the results of those that succeeded.

        An exception concerns its item only: it is logged with the item, counted, and the item is tried again later.
        Raises Unavailable when a store has not answered for MAX_UNAVAILABLE items in a row.
        """
        return self._for_each(items, handle, unavailable=0)

    def for_batch(self, items: Sequence[Item], handle: Callable[[Sequence[Item]], Result]) -> list[Result]:
        """Handle all items at once or, if that fails, each on its own; those that have failed before always so.

        Returns the results of the calls that succeeded. Raises as `for_each` does, but sooner.
        """
        with self._lock:
            suspects = [item for item in items if item in self._failures]
        others = [item for item in items if item not in suspects]
        results: list[Result] = []
        unavailable = 0
        if len(others) > 1:
            try:
                results.append(handle(others))
                others = []
            except Exception as error:
                # Either the store is away, or one item makes it seem so: the next one that fails likewise decides.
                unavailable = MAX_UNAVAILABLE - 1 if _is_away(error) else 0
                logger.warning(
                    "%s: a batch of %d failed (%s); each is tried alone", self._job, len(others), _name(error)
                )
        return results + self._for_each([*others, *suspects], lambda item: handle([item]), unavailable)

    def _for_each(self, items: Iterable[Item], handle: Callable[[Item], Result], unavailable: int) -> list[Result]:
        held = self.held()
        results = []
        unlogged: list[_Failed[Item]] = []
        """Failures that are not logged when they turn out to be the store's: the caller is told of that one."""
        for item in items:
            if item in held:
                continue
            try:
                results.append(handle(item))
            except Exception as error:
                away = _is_away(error)
                unlogged.append(self._hold(item, error, MAX_DELAY_UNAVAILABLE if away else MAX_DELAY))
                unavailable = unavailable + 1 if away else 0
                if unavailable == MAX_UNAVAILABLE:
                    raise
            else:
                self._release(item)
                unavailable = 0
            if unavailable == 0:
                self._report(unlogged)
        self._report(unlogged)
        return results

    def _hold(self, item: Item, error: Exception, max_delay: timedelta) -> "_Failed[Item]":
        with self._lock:
            before = self._failures.pop(item, None)
            count = 1 if before is None else before.in_a_row + 1
            wait = delay(count, max_delay)
            self._failures[item] = _Failures(count, self._clock.now() + wait)
            if len(self._failures) > MAX_ITEMS:
                del self._failures[next(iter(self._failures))]
        return _Failed(item, error, count, wait)

    def _report(self, failed: list["_Failed[Item]"]) -> None:
        """Log and count the failures, and empty the list."""
        for item, error, count, wait in failed:
            away = _is_away(error)
            logger.log(
                logging.WARNING if away else logging.ERROR,
                "%s: %s failed, %d times in a row (%s); tried again in %d s at the earliest%s",
                self._job,
                item,
                count,
                _name(error),
                wait.total_seconds(),
                _frames(error) if count == 1 and not away else "",
            )
            if not away:  # counting takes a store, too
                self._on_failure(self._job)
        failed.clear()

    def _release(self, item: Item) -> None:
        with self._lock:
            self._failures.pop(item, None)


def delay(count: int, max_delay: timedelta) -> timedelta:
    """How long an item is held after its `count`-th failure in a row."""
    if count == 1:
        return timedelta()
    return min(max_delay, FIRST_DELAY * 2.0 ** min(count - 2, 20))


def _is_away(error: Exception) -> bool:
    """Whether it says that a store is away. A damaged key says so of nothing but itself."""
    return isinstance(error, Unavailable) and not isinstance(error, RedisDamaged)


def _name(error: Exception) -> str:
    return type(error.cause if isinstance(error, Unavailable) else error).__name__


def _frames(error: Exception) -> str:
    """Where it was raised, without its message, which may quote what a person has written."""
    return "\n" + "".join(traceback.format_tb(error.__traceback__)).rstrip()
