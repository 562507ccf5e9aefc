"""Puts a command on a queue and waits for its reply."""

import time
from uuid import UUID

from celery import Celery
from kombu.exceptions import OperationalError
from uuid_utils.compat import uuid7

from celery_config import HOLDER, TaskNames
from core.errors import QueueSlow, SwitchboardError, Unavailable
from core.messaging.replies import Replies, Reply, holder_of
from core.sessions.credential import Credential
from core.stores.redis import translate_errors
from web.streaming.hub import Hub

SEND_TIMEOUT = 0.3
"""Seconds to reach the broker, and that each of its answers may take: a request that can't be queued is to be
answered within half a second, which leaves no time for a second try."""
COMMAND_EXPIRY = 300
"""Seconds after which a command's effect is not wanted any more; a worker that comes back late drops it."""
RETRY_WINDOW = 0.1
"""Seconds within which a broken connection shows."""


class Commands:
    """The commands that workers carry out, one method each. Arguments are ids and names: Flower shows them."""

    def __init__(self, celery: Celery, hub: Hub, replies: Replies) -> None:
        self._celery = celery
        self._hub = hub
        self._replies = replies

    def create_session(
        self,
        credential: Credential,
        owner_id: UUID | None,
        model: str | None,
        wait: float,
        *,
        stale: float = COMMAND_EXPIRY,
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
        self, name: str, session_id: UUID, args: list[object], wait: float, holder: str, stale: float = COMMAND_EXPIRY
    ) -> Reply:
        """Send a command and wait up to `wait` seconds; the reply is pending when that was too short, and always
        when `wait` is 0. Raises Unavailable."""
        task_id = str(uuid7())
        pending = Reply(task_id, str(session_id), holder)
        with self._hub.expect(task_id) as waiter:
            # First: where no reply can be kept, none will come, and no request is to wait for it.
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

    def _send(self, name: str, args: list[object], stale: float = COMMAND_EXPIRY, **options: object) -> None:
        began = time.monotonic()
        for last in (False, True):
            try:
                with translate_errors():
                    self._celery.send_task(name, args, expires=stale, **options)
                return
            except OperationalError as error:
                # A kept connection that the broker has closed since shows at once, and a new one may work. A
                # broker that is silent is not asked twice: the request has no time left.
                if last or time.monotonic() - began > RETRY_WINDOW:
                    raise Unavailable("The queue is away; try again in a moment.", retry_after=2) from error


class CommandFailed(SwitchboardError):
    """A worker answered with a problem; it is passed on as it is."""

    def __init__(self, reply: Reply) -> None:
        assert reply.problem is not None
        self._problem = reply.problem
        super().__init__(str(reply.problem["detail"]))
        self.status = int(reply.problem["status"])  # type: ignore[misc]

    def problem(self) -> dict[str, object]:
        """The worker's problem details."""
        return self._problem


def result_of(reply: Reply) -> Reply:
    """The reply, if it is a result. Raises QueueSlow when it is pending, CommandFailed when it is a problem."""
    if reply.problem is not None:
        raise CommandFailed(reply)
    if reply.result is None:
        raise QueueSlow(retry_after=2)
    return reply


def new_sender(broker_url: str) -> Celery:
    """A Celery application that only sends; the tasks are the workers'."""
    celery = Celery("switchboard-web", set_as_current=False)
    celery.config_from_object("celery_config")
    celery.conf.broker_url = broker_url
    celery.conf.task_publish_retry_policy = {"max_retries": 0}
    # In a new dictionary: the old one is celery_config's own, which the whole process shares.
    celery.conf.broker_transport_options = {
        **celery.conf.broker_transport_options,
        "max_retries": 0,
        "socket_timeout": SEND_TIMEOUT,
        "socket_connect_timeout": SEND_TIMEOUT,
    }
    return celery
