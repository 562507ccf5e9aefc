"""How much one owner may ask for: messages, tokens and money by rate, and answers at the same time."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, cast
from uuid import UUID

from core.errors import GenerationInProgress, Unavailable
from core.limits.leases import LEASES, Leases, microseconds
from core.limits.rate import Rate, parse_budget, parse_rate
from core.limits.rate_limit import BUCKETS, NOW, PREFIX, Bucket, RateLimiter, amounts, decision
from core.limits.status import LimitStatus
from core.stores.redis import Pipeline, Redis, Script

logger = logging.getLogger(__name__)

CONCURRENT = "concurrent"
"""The policy of answers at the same time."""
MAX_CONCURRENT = 1000
"""Answers at the same time that one user may be allowed."""
MESSAGES, TOKENS, COST = "messages", "tokens", "cost"
"""The policies of what is charged."""
MILLIONTHS = "millionths"
"""The unit of money."""

# What was charged is kept with the rate that it was charged by, which may be another one when the answer ends. Once a
# bucket is full again there is nothing to give back, so it lives no longer than that.
ADMIT = """
local holder, charged = ARGV[1], ARGV[4]
local taken = acquire(KEYS[1], holder, tonumber(ARGV[2]), tonumber(ARGV[3]))
local held = redis.call('ZCARD', KEYS[1])
if not taken then return {0, held, 0} end
local admitted, backlogs = charge({unpack(KEYS, 3)}, {unpack(ARGV, 6)})
if admitted == 0 then
  redis.call('ZREM', KEYS[1], holder)
elseif charged ~= '' then
  redis.call('HSET', KEYS[2], holder, charged)
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
return {1, held, admitted, unpack(backlogs)}
"""

# What was charged is forgotten with its settlement, so that a second one changes nothing.
END = """
redis.call('ZREM', KEYS[1], ARGV[1])
local charged = redis.call('HGET', KEYS[2], ARGV[1]) or ''
redis.call('HDEL', KEYS[2], ARGV[1])
for i = 3, #KEYS do
  local policy, used = ARGV[2 * i - 4], tonumber(ARGV[2 * i - 3])
  local before, interval, capacity = charged:match(policy .. ' (%d+) (%d+) (%d+)')
  if before then
    capacity = tonumber(capacity)
    local backlog = backlog_of(KEYS[i], capacity) + (used - tonumber(before)) * tonumber(interval)
    keep(KEYS[i], math.min(math.max(backlog, 0), capacity))
  end
end
"""


class Spending(NamedTuple):
    """What an answer comes to, or may come to."""

    tokens: int
    cost: int
    """Millionths of the currency."""


NOTHING = Spending(0, 0)
NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})


def _parse_concurrent(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= MAX_CONCURRENT):
        raise ValueError(f"{text!r} is not a number from 1 to {MAX_CONCURRENT}")
    return int(text)


PARSERS: Mapping[str, Callable[[str], Any]] = {
    MESSAGES: parse_rate,
    TOKENS: parse_rate,
    COST: parse_budget,
    CONCURRENT: _parse_concurrent,
}
"""What reads a limit of a policy; each raises ValueError."""


@dataclass(frozen=True)
class OwnerLimits:
    """What owners of one kind may ask for. A rate of None is off."""

    concurrent: int
    """Answers at the same time."""
    messages: Rate | None
    tokens: Rate | None
    cost: Rate | None = None
    """Of money, in millionths of the currency."""

    def overridden(self, texts: Mapping[str, str]) -> "OwnerLimits":
        """With other limits for some policies, as options say them. Raises ValueError with what is wrong."""
        return replace(self, **{policy: parse(texts[policy]) for policy, parse in PARSERS.items() if policy in texts})


class Asking(Protocol):
    """A session in which a question is asked, also before it is stored."""

    @property
    def id(self) -> UUID: ...
    @property
    def owner_id(self) -> UUID | None: ...
    @property
    def anonymous(self) -> bool: ...


class MessageLimits:
    """Checked before anything else is touched; the generation holds the owner's lease, and what is reserved for it
    of the owner's tokens and money, until it ends."""

    def __init__(
        self, anonymous: OwnerLimits, user: OwnerLimits, limiter: RateLimiter, leases: Leases, redis: Redis
    ) -> None:
        self._anonymous = anonymous
        self._user = user
        self._limiter = limiter
        self._leases = leases
        self._redis = redis
        self._admit: Script = redis.register_script(NOW + BUCKETS + LEASES + ADMIT)
        self._end: Script = redis.register_script(NOW + BUCKETS + END)

    def admit(
        self,
        session: Asking,
        generation_id: UUID,
        lease: timedelta,
        spending: Spending,
        overrides: Mapping[str, str] = NO_OVERRIDES,
    ) -> Sequence[LimitStatus]:
        """Take a lease for the generation, charge its message, and reserve what it may come to: all, or none of it.

        `overrides`: the owner's own limits, by policy. Raises RateLimited, GenerationInProgress or Unavailable.
        """
        owner, anonymous = owner_of(session), session.anonymous
        limits = (self._anonymous if anonymous else self._user).overridden(overrides)
        buckets = _buckets(owner, anonymous, limits, 1, spending)
        # In milliseconds.
        longest = max((-(-one.rate.capacity // 1000) for one in buckets), default=0)
        taken, held, admitted, *backlogs = cast(
            "list[int]",
            self._admit(
                keys=[self._leases.key(owner), _reserved_key(owner), *map(self._limiter.key, buckets)],
                args=[
                    str(generation_id),
                    limits.concurrent,
                    microseconds(lease),
                    _charged(buckets),
                    longest,
                    *amounts(buckets),
                ],
            ),
        )
        # An anonymous session is its own owner: the other lease is of its own other message, which has been taken so
        # lately that the database does not know of it yet.
        if not taken and anonymous:
            raise GenerationInProgress
        status = self._leases.decide(bool(taken), held, limits.concurrent)
        return [*decision(bool(admitted), buckets, backlogs).require().limit_statuses, status]

    def statuses(self, user_id: UUID, overrides: Mapping[str, str]) -> Sequence[LimitStatus]:
        """How a user stands with all that is limited; nothing is charged. Raises Unavailable."""
        limits = self._user.overridden(overrides)
        charged = self._limiter.charge(_buckets(user_id, False, limits, 0, NOTHING))
        return [*charged.limit_statuses, self._leases.status(len(self._leases.holders(user_id)), limits.concurrent)]

    def refill(self, user_id: UUID, policies: Iterable[str]) -> None:
        """Let these of a user's limits begin anew, after they have been changed: what was used of a small one would
        be all of a large one. Raises Unavailable."""
        self._redis.delete(*(self._limiter.name(policy, str(user_id), durable=True) for policy in policies))

    def cancel(self, session: Asking, generation_id: UUID) -> None:
        """The generation that was admitted has not come about: it holds nothing, and costs neither a message nor
        tokens nor money. Safe to repeat."""
        with _tolerate_unavailable():
            self._correct(owner_of(session), session.anonymous, generation_id, {MESSAGES: 0, TOKENS: 0, COST: 0})

    def settle(self, owner: UUID, anonymous: bool, generation_id: UUID, spent: Spending) -> None:
        """The generation has ended: give its lease back, and charge what its answer has come to in place of what was
        reserved. Safe to repeat. Raises Unavailable."""
        self._correct(owner, anonymous, generation_id, {TOKENS: spent.tokens, COST: spent.cost})

    def add_forget(self, pipe: Pipeline, owner: UUID, generation_id: UUID) -> None:
        """Add to a pipeline: the owner's generation is gone and will not be ended. It holds nothing more, and what it
        reserved is spent."""
        self._leases.add_release(pipe, owner, generation_id)
        pipe.hdel(_reserved_key(owner), str(generation_id))

    def add_forget_all(self, pipe: Pipeline, owners: Sequence[UUID | str]) -> None:
        """Add to a pipeline: all generations of these owners are gone and will not be ended, as in `add_forget`."""
        # Limits share a hash slot, so that one command takes them all.
        pipe.delete(*map(self._leases.key, owners), *map(_reserved_key, owners))

    def _correct(self, owner: UUID, anonymous: bool, generation_id: UUID, used: Mapping[str, int]) -> None:
        names = [self._limiter.name(policy, str(owner), durable=not anonymous) for policy in used]
        self._end(
            keys=[self._leases.key(owner), _reserved_key(owner), *names],
            args=[str(generation_id), *(argument for each in used.items() for argument in each)],
        )

    def renew_lease(self, owner: UUID, generation_id: UUID, lease: timedelta) -> None:
        """A worker writes the generation: its lease runs from now, even if it ran out before, or Redis lost it."""
        with _tolerate_unavailable():
            self._leases.renew(owner, generation_id, lease)

    def add_renewal(self, pipe: Pipeline, owner: UUID, generation_id: UUID, lease: timedelta) -> None:
        """Add to a pipeline what `renew_lease` does."""
        self._leases.add_renewal(pipe, owner, generation_id, lease)

    def release_lease(self, owner: UUID, generation_id: UUID) -> None:
        """The generation has ended without its lease being given back. Safe to repeat. Raises Unavailable."""
        self._leases.release(owner, generation_id)

    def lease_holders(self, owner: UUID) -> set[UUID]:
        """The generations that hold a lease of the owner's now. Raises Unavailable."""
        return {UUID(holder) for holder in self._leases.holders(owner)}


@contextmanager
def _tolerate_unavailable() -> Iterator[None]:
    """Go on without Redis: a lease is then neither longer nor shorter than it is, and runs out by itself."""
    try:
        yield
    except Unavailable:
        logger.warning("a generation's lease could not be changed: Redis is away")


def _buckets(owner: UUID, anonymous: bool, limits: OwnerLimits, messages: int, spending: Spending) -> list[Bucket]:
    wanted = (
        (MESSAGES, limits.messages, messages, "requests"),
        (TOKENS, limits.tokens, spending.tokens, "tokens"),
        (COST, limits.cost, spending.cost, MILLIONTHS),
    )
    return [
        Bucket(policy, str(owner), rate, cost=amount, unit=unit, durable=not anonymous)
        for policy, rate, amount, unit in wanted
        if rate is not None
    ]


def _charged(buckets: Sequence[Bucket]) -> str:
    """As the scripts have it: of each bucket its policy, the units, and the rate's interval and capacity."""
    return " ".join(f"{one.policy} {one.charge.cost} {one.rate.interval} {one.rate.capacity}" for one in buckets)


def _reserved_key(owner: UUID | str) -> str:
    return f"{PREFIX}reserved:{owner}"


def owner_of(session: Asking) -> UUID:
    """Whose limits count: the user's, or the anonymous session's own."""
    return session.owner_id or session.id
