"""Puts a command on a queue and waits for its reply."""

import time
from uuid import UUID

from celery import Celery
from kombu.exceptions import OperationalError
from uuid_utils.compat import uuid7

from celery_config import HOLDER, TaskNames
from core.errors import Unavailable
from core.messaging.replies import Replies, Reply, holder_of
from core.sessions.credential import Credential
from core.stores.redis import translate_errors
from web.streaming.hub import Hub

STALE = 300
"""Seconds after which nobody wants a command's effect any more; a worker that comes back late drops it."""
QUICK = 0.1
"""Seconds within which a broken connection shows."""


class Commands:
    """The commands that workers carry out, one method each. Arguments are ids and names: Flower shows them."""

    def __init__(self, celery: Celery, hub: Hub, replies: Replies) -> None:
        self._celery = celery
        self._hub = hub
        self._replies = replies

    def create_session(
        self, credential: Credential, owner_id: UUID | None, model: str | None, wait: float, *, stale: float = STALE
    ) -> Reply:
        """Create a session under the credential's id. Without an owner, the credential's secret is its proof. A
        worker that comes to it after `stale` seconds drops it."""
        secret_hash = None if owner_id or not credential.secret_hash else credential.secret_hash.hex()
        owner = str(owner_id) if owner_id else None
        holder = holder_of(owner_id, credential.secret_hash)
        args: list[object] = [secret_hash, owner, model]
        return self._call(TaskNames.CREATE_SESSION, credential.session_id, args, wait, holder, stale)

    def switch_model(
        self,
        session_id: UUID,
        model: str,
        owner_id: UUID | None,
        version: int | None,
        wait: float,
        *,
        secret_hash: bytes | None = None,
    ) -> Reply:
        """Switch a session's model, only from `version` if that is given. `secret_hash` is an anonymous session's."""
        owner = str(owner_id) if owner_id else None
        holder = holder_of(owner_id, secret_hash)
        return self._call(TaskNames.SWITCH_MODEL, session_id, [model, owner, version], wait, holder)

    def generate(self, generation_id: UUID) -> None:
        """Have an accepted generation written. Raises Unavailable when the broker is away."""
        self._send(TaskNames.GENERATE, [str(generation_id)])

    def _call(
        self, name: str, session_id: UUID, args: list[object], wait: float, holder: str, stale: float = STALE
    ) -> Reply:
        """Send a command and wait up to `wait` seconds; the reply is pending when that was too short, and always
        when `wait` is 0. Raises Unavailable."""
        task_id = str(uuid7())
        pending = Reply(task_id, str(session_id), holder)
        with self._hub.expect(task_id) as waiter:
            # First: where no reply can be kept, none will come, and nobody is to wait for it.
            self._replies.expect(pending)
            headers = {HOLDER: holder}
            self._send(
                name,
                [str(session_id), *args],
                stale,
                task_id=task_id,
                reply_to=self._hub.reply_channel,
                headers=headers,
            )
            reply = waiter.wait(wait) if wait else None
        if reply is not None:
            return reply
        # It may have come in between, or been announced while the hub was reconnecting.
        found = self._replies.find(task_id) if wait else None
        return found or pending

    def _send(self, name: str, args: list[object], stale: float = STALE, **options: object) -> None:
        began = time.monotonic()
        for last in (False, True):
            try:
                with translate_errors():
                    self._celery.send_task(name, args, expires=stale, **options)
                return
            except OperationalError as error:
                # A kept connection that the broker has closed since shows at once, and a new one may work. A
                # broker that is silent is not asked twice: the request has no time left.
                if last or time.monotonic() - began > QUICK:
                    raise Unavailable("The queue is away; try again in a moment.", retry_after=2) from error
