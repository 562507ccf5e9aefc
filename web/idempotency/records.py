"""What becomes of a request that is sent twice under one key (draft-ietf-httpapi-idempotency-key-header).

The first one fixes what it will create before it begins: the ids, and the salt of a new session's secret. So a
repeat after a crash creates nothing else, and a repeat after the answer gets the answer. Redis keeps hashes, ids
and the answer, which holds no words; a session's secret is derived from the salt kept here and the key that only
the client has, so neither of the two alone opens anything.
"""

import hmac
import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, cast
from uuid import UUID

from uuid_utils.compat import uuid7

from core.limits.rate_limit import NOW
from core.sessions.credential import Credential
from core.stores.redis import Redis, Script
from web.auth.creation_plan import CreationPlan
from web.errors import IdempotencyInFlight, IdempotencyMismatch

HOLD_TTL = timedelta(seconds=60)
"""How long a request may take until it is taken for dead and its repeat goes ahead in its place."""
ANSWER_TTL = timedelta(hours=24)
"""How long an answer is kept, at most."""
RETRY_AFTER = 1
"""Seconds after which asking for the answer of a request that is under way makes sense."""

BEGIN = """
local body, plan, holder, hold, kept = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local known = redis.call('HMGET', KEYS[1], 'body', 'plan', 'answer', 'answer_until', 'held_until')
if known[1] and known[1] ~= body then return {'other'} end
if known[3] and tonumber(known[4]) > now then return {'answered', known[2], known[3]} end
if known[5] and tonumber(known[5]) > now then return {'held'} end
redis.call('HSET', KEYS[1], 'body', body, 'plan', known[2] or plan,
           'holder', holder, 'held_until', string.format('%.0f', now + hold))
if not known[1] then redis.call('PEXPIRE', KEYS[1], kept) end
return {'begun', known[2] or plan}
"""

ANSWER = """
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return end
redis.call('HSET', KEYS[1], 'answer', ARGV[2], 'answer_until', string.format('%.0f', now + tonumber(ARGV[3])))
redis.call('HDEL', KEYS[1], 'holder', 'held_until')
"""

FORGET = """
if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


@dataclass(frozen=True)
class Request:
    """A request with a key: `scope` says whose key it is, `body` what was asked (only hashes of them are kept)."""

    scope: str
    key: str
    body: bytes

    @property
    def name(self) -> str:
        """The record's name in Redis."""
        return f"sb:once:{sha256(f'{self.scope} {self.key}'.encode()).hexdigest()}"

    @property
    def fingerprint(self) -> str:
        """Tells this body from others; without the key it does not even confirm a guess at short words."""
        return hmac.digest(self.key.encode(), self.body, "sha256").hex()


@dataclass(frozen=True)
class Begun:
    """A request that is to be carried out, and then answered or forgotten."""

    request: Request
    plan: CreationPlan
    stored_plan: str
    holder: str


@dataclass(frozen=True)
class Answered:
    """A request that has been carried out before."""

    plan: CreationPlan
    answer: dict[str, Any]


class Idempotency:
    """The records, one per key and scope. Given a Redis client that fails soon; raises Unavailable when it does."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._begin: Script = redis.register_script(NOW + BEGIN)
        self._answer: Script = redis.register_script(NOW + ANSWER)
        self._forget: Script = redis.register_script(FORGET)

    def begin(self, request: Request, kept: timedelta = ANSWER_TTL) -> Begun | Answered:
        """Take the key for this request, or find what became of the first one that had it.

        Of any number of racers one begins. Raises IdempotencyMismatch or IdempotencyInFlight.
        """
        holder = secrets.token_hex(8)
        fresh = json.dumps({"session": str(uuid7()), "salt": secrets.token_hex(32), "generation": str(uuid7())})
        state, *found = cast(
            "list[str]",
            self._begin(
                keys=[request.name],
                args=[request.fingerprint, fresh, holder, _microseconds(HOLD_TTL), _milliseconds(kept)],
            ),
        )
        if state == "other":
            raise IdempotencyMismatch
        if state == "held":
            raise IdempotencyInFlight(retry_after=RETRY_AFTER)
        plan = _plan(found[0], request.key, repeated=found[0] != fresh)
        if state == "answered":
            return Answered(plan, json.loads(found[1]))
        return Begun(request, plan, found[0], holder)

    def answer(
        self, begun: Begun, answer: dict[str, Any], valid: timedelta = ANSWER_TTL, also: Sequence[Request] = ()
    ) -> None:
        """Keep the answer for repeats. After `valid` the request is carried out again, to the same plan.

        `also` are the forms in which a repeat may come, now that its sender has been given a session.
        """
        text = json.dumps(answer)
        for request in also:
            remaining = self._redis.pttl(begun.request.name)
            record = ("body", request.fingerprint, "plan", begun.stored_plan, "holder", begun.holder)
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(request.name, items=list(record))
                pipe.pexpire(request.name, max(1, remaining))
                pipe.execute()
            self._answer(keys=[request.name], args=[begun.holder, text, _microseconds(valid)])
        self._answer(keys=[begun.request.name], args=[begun.holder, text, _microseconds(valid)])

    def forget(self, begun: Begun) -> None:
        """Nothing was created: the key is free again."""
        self._forget(keys=[begun.request.name], args=[begun.holder])


def _plan(stored: str, key: str, *, repeated: bool) -> CreationPlan:
    plan = json.loads(stored)
    secret = hmac.digest(key.encode(), f"session secret {plan['salt']}".encode(), "sha256")
    credential = Credential(UUID(plan["session"]), urlsafe_b64encode(secret).decode().rstrip("="))
    return CreationPlan(credential, UUID(plan["generation"]), repeated)


def _milliseconds(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)


def _microseconds(span: timedelta) -> int:
    return _milliseconds(span) * 1000
