"""What the events of an answer add to its text and its thinking: pure, over the events as they come."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from web.streaming.answer_reader import AnswerInterrupted


class Added(NamedTuple):
    """What an event adds."""

    text: str = ""
    thinking: str = ""


NOTHING = Added()


class AnswerText:
    """An answer as far as its client has been told. Words may come again when a log was restored."""

    def __init__(self) -> None:
        self._length = 0
        self._thinking = ""

    @property
    def thinking(self) -> str:
        """What the model has said to itself, as it stands."""
        return self._thinking

    def take(self, kind: str, data: Mapping[str, Any]) -> Added:
        """What the event adds to what has been told. Raises AnswerInterrupted when words before it are missing."""
        if kind == "delta":
            return Added(text=self._text(int(data["at"]), str(data["text"])))
        if kind == "thinking":
            return Added(thinking=self._thought(int(data["at"]), str(data["text"])))
        return NOTHING

    def _text(self, at: int, text: str) -> str:
        if at > self._length:
            raise AnswerInterrupted
        new = text[self._length - at :]
        self._length += len(new)
        return new

    def _thought(self, at: int, text: str) -> str:
        """Thinking may begin again: then what was told stands, and the new follows it."""
        told, self._thinking = self._thinking, self._thinking[:at] + text
        return self._thinking[len(told) :] if self._thinking.startswith(told) else text
