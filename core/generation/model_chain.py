"""Which model is asked next for one answer, and what the models before it have failed with."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from core.generation.context_window import TooLong
from core.generation.draft import Draft
from core.generation.failure import may_go_on
from core.llm.cooldown import Cooldowns
from core.llm.providers.base import ProviderError


class Failure(NamedTuple):
    """That a model has failed, and why."""

    model: str
    error: ProviderError


class ModelChain:
    """A model and its fallbacks, as they are asked in turn.

    Models that rest come last, for no answer fails while one has not been asked. A model that fails in the middle of
    its answer is asked once to go on, or to begin again (`may_go_on`).
    """

    def __init__(self, names: Sequence[str], cooldowns: Cooldowns, draft: Draft) -> None:
        self._names = list(names)
        self._cooldowns = cooldowns
        self._draft = draft
        self._last: Failure | None = None
        self._refused: Failure | None = None

    def __iter__(self) -> Iterator[str]:
        """The models to ask, in order, for as long as they fail."""
        while self._names:
            resting = self._cooldowns.in_cooldown(self._names)
            name = next((name for name in self._names if name not in resting), self._names[0])
            self._names.remove(name)
            yield from self._once_or_twice(name)

    @property
    def last_failure(self) -> Failure | None:
        """That of the model that was asked last."""
        return self._last

    @property
    def reported_failure(self) -> Failure:
        """The failure that the answer ends with: of all that goes wrong, a conversation that is too long is what the
        person asking can correct; else the last one."""
        failure = self._refused or self._last
        assert failure is not None
        return failure

    def failed(self, model: str, error: ProviderError) -> None:
        """Note that the model has failed."""
        self._last = Failure(model, error)
        if isinstance(error, TooLong):
            self._refused = self._last

    def _once_or_twice(self, model: str) -> Iterator[str]:
        before = self._draft.length
        yield model
        wrote = self._draft.length > before
        thought = bool(self._draft.thinking_length) and not self._draft.thinking_is_stale
        if self._last is not None and may_go_on(self._last.error, wrote=wrote, thought=thought):
            yield model
