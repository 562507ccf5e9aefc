"""How many requests each provider gets at once: slots, which an attempt holds one of from its turn to its end."""

from contextlib import suppress
from datetime import timedelta

from core.errors import Unavailable
from core.generation.attempts import Attempt
from core.limits.leases import Leases
from core.limits.status import RateLimited
from core.llm.client_pool import ClientPool
from core.llm.cooldown import Cooldowns


class Slots:
    """The slots of all providers, as leases: those of dead workers heal."""

    def __init__(self, leases: Leases, pool: ClientPool, cooldowns: Cooldowns, lease: timedelta) -> None:
        self._leases = leases
        self._pool = pool
        self._cooldowns = cooldowns
        self._lease = lease

    def first_choice(self, model: str) -> str:
        """Who is asked first for an answer of this model: one that rests is passed over, unless all of them do."""
        names = self._pool.chain(model)
        resting = self._cooldowns.resting(names)
        return next((name for name in names if name not in resting), model)

    def take(self, model: str, holder: str) -> bool:
        """Whether the holder has one of the model's slots now. Raises Unavailable."""
        if not self._pool.chain(model):  # retired: nobody will be asked
            return True
        try:
            self._leases.acquire(model, holder, self._pool.config(model).max_concurrency, self._lease)
        except RateLimited:
            return False
        return True

    def move(self, attempt: Attempt, model: str) -> bool:
        """Whether the attempt has one of the model's slots now; the one that it had elsewhere is given back."""
        if attempt.slot == model:
            return True
        self.release(attempt)
        if self.take(model, attempt.holder):
            attempt.slot = model
        return attempt.slot == model

    def hold(self, attempt: Attempt) -> None:
        """The attempt is alive. Raises Unavailable."""
        if attempt.slot is not None:
            self._leases.renew(attempt.slot, attempt.holder, self._lease)

    def release(self, attempt: Attempt) -> None:
        """The attempt needs it no more."""
        if attempt.slot is not None:
            self.give_back(attempt.slot, attempt.holder)
            attempt.slot = None

    def give_back(self, model: str, holder: str) -> None:
        """The holder needs it no more."""
        with suppress(Unavailable):  # one that is not given back heals
            self._leases.release(model, holder)
