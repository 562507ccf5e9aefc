"""How many requests each provider gets at once: slots, of which an attempt holds one from its claim to its end."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from core.errors import Unavailable
from core.limits.leases import Leases
from core.llm.client_pool import ClientPool
from core.llm.cooldown import Cooldowns
from core.stores.redis import Pipeline


class ProviderSlots:
    """The slots of all providers, as leases: those of dead workers lapse."""

    def __init__(self, leases: Leases, pool: ClientPool, cooldowns: Cooldowns, lease: timedelta) -> None:
        self._leases = leases
        self._pool = pool
        self._cooldowns = cooldowns
        self._lease = lease

    def first_choice(self, model: str) -> str:
        """The model that is asked first for an answer of this one: models that rest are passed over, unless all of
        them do."""
        names = self._pool.chain(model)
        resting = self._cooldowns.in_cooldown(names)
        return next((name for name in names if name not in resting), model)

    def acquire(self, model: str, generation_ids: Sequence[UUID]) -> "list[Slot]":
        """Slots of the model, for as many of the generations as there are any, in their order. Raises Unavailable."""
        # The holder is another one each time: what loses a race for the generation gives away no slot but its own.
        holders = [_holder(generation_id) for generation_id in generation_ids]
        return [Slot(self, holder, model) for holder in holders[: self._take_leases(model, holders)]]

    def take_lease(self, model: str, holder: str) -> bool:
        """Whether the holder has one of the model's slots now. Raises Unavailable."""
        return self._take_leases(model, [holder]) == 1

    def _take_leases(self, model: str, holders: Sequence[str]) -> int:
        if not self._pool.chain(model):  # retired: no provider will be asked
            return len(holders)
        return self._leases.acquire_some(model, holders, self._pool.config(model).max_concurrency, self._lease)

    def add_renewal(self, pipe: Pipeline, model: str, holder: str) -> None:
        """Add to a pipeline: the holder is alive."""
        self._leases.add_renewal(pipe, model, holder, self._lease)

    def renew_lease(self, model: str, holder: str) -> None:
        """Say that the holder is alive. Raises Unavailable."""
        self._leases.renew(model, holder, self._lease)

    def release_lease(self, model: str, holder: str) -> None:
        """Give the holder's slot back."""
        with suppress(Unavailable):  # one that is not given back lapses
            self._leases.release(model, holder)


class Slot:
    """A slot that one attempt holds, at one provider at a time."""

    def __init__(self, slots: ProviderSlots, holder: str, model: str) -> None:
        self._slots = slots
        self._holder = holder
        self._model: str | None = model

    @property
    def model(self) -> str | None:
        """The model of whose provider's slots it is one; None when it has been given back."""
        return self._model

    def move_to(self, model: str) -> bool:
        """Whether it is one of this model's slots now; the one held elsewhere is given back. Raises Unavailable."""
        if self._model != model:
            self.release()
            if self._slots.take_lease(model, self._holder):
                self._model = model
        return self._model == model

    def add_renewal(self, pipe: Pipeline) -> None:
        """Add to a pipeline: the attempt is alive."""
        if self._model is not None:
            self._slots.add_renewal(pipe, self._model, self._holder)

    def hand_to(self, generation_id: UUID) -> None:
        """Let it be another generation's."""
        if self._model is None:
            return
        before, self._holder = self._holder, _holder(generation_id)
        with suppress(Unavailable):  # its next renewal makes up for that
            self._slots.renew_lease(self._model, self._holder)  # first, or another might take it
        self._slots.release_lease(self._model, before)

    def release(self) -> None:
        """Give it back."""
        if self._model is not None:
            self._slots.release_lease(self._model, self._holder)
            self._model = None


def _holder(generation_id: UUID) -> str:
    return f"{generation_id}:{secrets.token_hex(4)}"
