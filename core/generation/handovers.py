"""What one attempt knows of its answer's handovers: those that have been made, and the one that is asked for.

A person may have another model carry on an answer while it is written. The request is in the row, so it holds for any
worker, until an attempt has made it: one compare-and-set, which names the row's new model. The log tells of it after
that; an attempt whose worker died in between has left that to the next one.
"""

from collections.abc import Iterable
from typing import Any

from core.conversation.fallback import RESTING, Fallback
from core.conversation.handover import MAX_HANDOVERS, Handover


class Handovers:
    """Of one attempt. The heartbeat says what is asked for, the writer what is made of it."""

    def __init__(self, model: str, made: Iterable[Handover] = (), target: str | None = None) -> None:
        """`model`: that of the row when the attempt began."""
        self._model = model
        self.made = tuple(made)
        self.target = target
        """The model that a person wants, as the row had it last. None: no other."""
        self.asked: str | None = None
        """The model that is being asked: a fallback, perhaps."""
        self.fallback: Fallback | None = None
        """Why it is not the one that is to answer, if it is not."""

    @property
    def model(self) -> str:
        """The model that is to answer: since the last handover the one that was wanted."""
        return self._model

    @property
    def current(self) -> str:
        """The model that answers at the moment."""
        return self.asked or self.model

    @property
    def wanted(self) -> str | None:
        """The model that is to carry on instead of the current one, if there is any."""
        return self.target if self.target != self.current and len(self.made) < MAX_HANDOVERS else None

    @property
    def helped_out(self) -> dict[str, Any]:
        """Of the terminal event and its message: which model has answered in the place of the one that was to."""
        return {} if self.fallback is None else {"model": self.current, "fallback": self.fallback.describe()}

    def note_asked(self, model: str, failure: str | None, at: int) -> None:
        """This model is asked, with so many characters of the answer before it. `failure`: what another one that was
        asked just before has failed with. Of several that fail in a row, the first one's reason counts."""
        self.asked = model
        if model == self.model:
            self.fallback = None
        elif self.fallback is None:
            self.fallback = Fallback(self.model, model, failure or RESTING, at)
        else:
            self.fallback = self.fallback._replace(to_model=model)

    def note(self, handover: Handover) -> None:
        """It has been made."""
        self.made = (*self.made, handover)
        self._model = handover.to_model
        self.asked = self.target = self.fallback = None

    @property
    def models(self) -> list[str]:
        """The models to ask, in order: the one that is to answer, and those that have handed over to it, the last of
        them first. No answer is lost for a handover."""
        return list(dict.fromkeys([self.model, *(each.from_model for each in reversed(self.made))]))
