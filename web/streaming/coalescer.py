"""One question to a store in place of the many that readers ask at once."""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Coalescer(Generic[Item, Answer]):
    """Asks for many at once what each asks for alone: while one question is under way, the next one gathers."""

    def __init__(self, ask: Callable[[Sequence[Item]], Sequence[Answer]], most: int) -> None:
        """`ask` has one answer for each item, in their order. It is given at most `most` of them."""
        self._ask = ask
        self._most = most
        self._asking = Lock()
        self._waiting: deque[_Question[Item, Answer]] = deque()

    def __call__(self, item: Item) -> Answer:
        """The answer for one item, from a question that begins after this call. Raises what `ask` raises."""
        mine = _Question[Item, Answer](item)
        self._waiting.append(mine)
        while not mine.is_answered:
            with self._asking:
                if not mine.is_answered:
                    self._ask_some()
        return mine.answer()

    def __len__(self) -> int:
        """How many wait for a question that has not begun."""
        return len(self._waiting)

    def _ask_some(self) -> None:
        some = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        try:
            answers = self._ask([question.item for question in some])
        except Exception as error:
            for question in some:
                question.fail(error)
            return
        for question, answer in zip(some, answers, strict=True):
            question.succeed(answer)


class _Question(Generic[Item, Answer]):
    __slots__ = ("_answers", "_error", "is_answered", "item")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.is_answered = False
        self._answers: tuple[Answer, ...] = ()
        self._error: Exception | None = None

    def succeed(self, answer: Answer) -> None:
        self._answers = (answer,)
        self.is_answered = True

    def fail(self, error: Exception) -> None:
        self._error = error
        self.is_answered = True

    def answer(self) -> Answer:
        if self._error is not None:
            raise self._error
        return self._answers[0]
