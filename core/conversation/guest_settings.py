"""The settings of anonymous sessions: a hash in Redis with the session's lifetime, a field for each that is set."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from core.conversation.damage import Damaged, pass_over
from core.conversation.event_log import expiry
from core.conversation.event_log_scripts import MEND, LogScript
from core.conversation.keys import keys
from core.conversation.session_settings import CHECKS, SessionSettings
from core.stores.redis import Pipeline, Redis, RedisDamaged

FIELDS = tuple(CHECKS)

CHANGE = (
    MEND
    + """
local function change(field, value)
  if value == 'null' then redis.call('HDEL', settings_key, field)
  elseif value ~= '' then redis.call('HSET', settings_key, field, value) end
end
change('title', title)
change('system_prompt', system_prompt)
change('temperature', temperature)
redis.call('PEXPIREAT', settings_key, math.max(expires, tonumber(redis.call('HGET', meta_key, 'expires') or 0)))
return redis.call('HMGET', settings_key, 'title', 'system_prompt', 'temperature')
"""
)


class Changes(NamedTuple):
    """What is set, each as JSON; empty: it stays as it is."""

    title: str
    system_prompt: str
    temperature: str
    expires: int
    """Unix time in milliseconds."""


class GuestSettings:
    """Reads and changes them. All methods raise Unavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._change = LogScript(redis, CHANGE, Changes)

    def read(self, session_id: UUID) -> SessionSettings:
        """Those of a session. One that is damaged counts as not set."""
        with self._redis.pipeline(transaction=False) as pipe:
            add_reading(pipe, session_id)
            (stored,) = pipe.execute_each()
        return loaded(session_id, stored)

    def change(self, session_id: UUID, changes: Mapping[str, Any], expires_at: datetime) -> SessionSettings:
        """Set what is named, None for what is to be as if it had never been set; all of them as they are then.

        In one step, so that of two changes at once to different settings both hold. The caller looks afterwards
        whether the session is still the guest's (`Removals.remove_if_gone`).
        """
        texts = {name: json.dumps(changes[name]) if name in changes else "" for name in FIELDS}
        return loaded(session_id, self._change(session_id, Changes(**texts, expires=expiry(expires_at))))


def add_reading(pipe: Pipeline, session_id: UUID) -> None:
    """Add to a pipeline what `loaded` reads the answer of."""
    pipe.hmget(keys(session_id).settings, FIELDS)


def loaded(session_id: UUID, stored: Sequence[str | None] | RedisDamaged) -> SessionSettings:
    """The settings, as Redis has them."""
    if isinstance(stored, RedisDamaged):
        pass_over(session_id, "settings", stored)
        return SessionSettings()
    return SessionSettings(
        **{name: _value(session_id, name, text) for name, text in zip(FIELDS, stored, strict=True)}
    )


def _value(session_id: UUID, name: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if CHECKS[name](value):
        return value
    pass_over(session_id, f"its {name}", Damaged("no such value"))
    return None
