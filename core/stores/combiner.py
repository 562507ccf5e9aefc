"""Calls of many threads, carried out together (flat combining; Hendler, Incze, Shavit and Tzafrir, SPAA 2010)."""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from time import sleep
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Combiner(Generic[Item, Result]):
    """What a store is asked once for many threads. A lone call waits for nobody; calls that come while one is being
    carried out are the next one, together."""

    def __init__(
        self, carry_out: Callable[[Sequence[Item]], Sequence[Result]], most: int = 1000, *, gathers: bool = False
    ) -> None:
        """`carry_out` has a result for each item, in their order, of which it gets at most `most`. What it raises,
        each of their callers gets.

        With `gathers` a call lets all that are ready to run come first, where a store answers without a switch of
        greenlets, as SQLite does: no call would ever come while another is carried out."""
        self._carry_out = carry_out
        self._most = most
        self._gathers = gathers
        self._turn = Lock()
        self._waiting: deque[_Call[Item, Result]] = deque()

    def call(self, item: Item) -> Result:
        """The item's result. Raises what carrying it out has raised."""
        mine = _Call[Item, Result](item)
        self._waiting.append(mine)
        if self._gathers:
            sleep(0)
        while not mine.is_done:
            with self._turn:
                if not mine.is_done:
                    self._carry_out_some()
        if mine.error is not None:
            raise mine.error
        return mine.results[0]

    def _carry_out_some(self) -> None:
        calls = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        try:
            for call, result in zip(calls, self._carry_out([call.item for call in calls]), strict=True):
                call.results.append(result)
        except BaseException as error:
            for call in calls:
                call.error = error


class _Call(Generic[Item, Result]):
    __slots__ = ("error", "item", "results")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.results: list[Result] = []
        self.error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return self.error is not None or bool(self.results)
