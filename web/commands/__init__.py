"""Puts commands on a queue and waits for their replies."""

import time
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any
from uuid import UUID

from celery import Celery
from uuid_utils.compat import uuid7

from broker.causes import BrokerAway, translate_errors
from broker.connection import AMQP
from celery_config import BROKER_VARIABLE, COMMANDS, HOLDER, REQUEST_IDS, TRACEPARENT, TRACEPARENTS, TaskNames
from core.errors import QueueSlow, SwitchboardError
from core.messaging.replies import Replies, Reply, holder_of
from core.observability.log_ids import current_request_id
from core.observability.tracing import span, traceparent
from core.sessions.credential import Credential
from core.stores.redis import HEALTH_CHECK_INTERVAL
from web.commands.groups import Command, Lane
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
        self._lock = Lock()
        self._lanes: dict[tuple[str, float], Lane] = {}
        """By the task's name and the seconds after which its effect is not wanted any more."""

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
        live: bool = False,
    ) -> Reply:
        """Switch a session's model, only from `version` if that is given; with `live`, the answer that is being
        written is carried on by it. `secret_hash` is an anonymous session's."""
        owner = str(owner_id) if owner_id else None
        holder = holder_of(owner_id, secret_hash)
        # A worker of the version before takes no more arguments than it knows.
        args: list[object] = [model, owner, version, True] if live else [model, owner, version]
        return self._call(TaskNames.SWITCH_MODEL, session_id, args, wait, holder)

    def generate(self, generation_id: UUID) -> None:
        """Have an accepted generation written. Raises Unavailable when the broker is away."""
        self._send(TaskNames.GENERATE, [str(generation_id)])

    def _call(
        self, name: str, session_id: UUID, args: list[object], wait: float, holder: str, stale: float = COMMAND_EXPIRY
    ) -> Reply:
        """Send a command and wait up to `wait` seconds; the reply is pending when that was too short, and always
        when `wait` is 0. Raises Unavailable."""
        pending = Reply(str(uuid7()), str(session_id), holder)
        lane = self._lane(name, stale)
        with self._hub.expect(pending.task_id) as waiter:
            if not wait:
                self._replies.expect(pending)  # before it can be asked for
            ids = current_request_id(), traceparent()
            group = lane.send(Command(pending, [pending.session_id, *args], waiter, *ids))
            try:
                if not wait:
                    group.await_publication(waiter)
                    return pending
                reply = waiter.wait(wait)
            finally:
                lane.leave(group)
        if reply is not None:
            return reply
        # From here on it is asked for. It may have come in between, or been announced while the hub was reconnecting.
        self._replies.expect(pending)
        return self._replies.find(pending.task_id) or pending

    def _lane(self, name: str, stale: float) -> Lane:
        with self._lock:
            if (name, stale) not in self._lanes:
                self._lanes[name, stale] = Lane(lambda commands: self._publish(name, stale, commands))
            return self._lanes[name, stale]

    def _publish(self, name: str, stale: float, commands: Sequence[Command]) -> None:
        pending = [command.pending for command in commands]
        headers: dict[str, object] = {
            COMMANDS: [[each.task_id, each.session_id, each.holder] for each in pending],
            REQUEST_IDS: [command.request_id for command in commands],
        }
        args: list[object] = [command.args for command in commands]
        options: dict[str, Any] = {}
        if len(commands) == 1:
            args, headers[HOLDER] = list(commands[0].args), pending[0].holder
        else:
            options["argsrepr"] = str([each.session_id for each in pending])
        links = [command.traceparent for command in commands if command.traceparent] if len(commands) > 1 else []
        if links:
            headers[TRACEPARENTS] = links
        task_id, channel = pending[0].task_id, self._hub.reply_channel
        self._send(name, args, stale, headers=headers, links=links, task_id=task_id, reply_to=channel, **options)

    def _send(
        self,
        name: str,
        args: list[object],
        stale: float = COMMAND_EXPIRY,
        *,
        headers: Mapping[str, object] | None = None,
        links: Sequence[str] = (),
        **options: object,
    ) -> None:
        # As Celery would write them, in a hundredth of the time: a fifth of the whole sending.
        options = {"argsrepr": str(args), "kwargsrepr": "{}", **options}
        with span(f"send {name}", "producer", {"messaging.operation.type": "send"}, links=links):
            sender = traceparent()
            traced = headers if sender is None else {**(headers or {}), TRACEPARENT: sender}
            self._send_in_time(name, args, expires=stale, headers=traced, **options)

    def _send_in_time(self, name: str, args: list[object], **options: object) -> None:
        began = time.monotonic()
        for last in (False, True):
            try:
                with translate_errors(BROKER_VARIABLE, self._celery.conf.broker_url):
                    self._celery.send_task(name, args, **options)
                return
            except BrokerAway:
                # A kept connection that the broker has closed since shows at once, and a new one may work. A
                # broker that is silent is not asked twice: the request has no time left.
                if last or time.monotonic() - began > RETRY_WINDOW:
                    raise


class CommandFailed(SwitchboardError):
    """A worker answered with a problem; it is passed on as it is."""

    def __init__(self, reply: Reply) -> None:
        assert reply.problem is not None
        self._problem = reply.problem
        super().__init__(str(reply.problem["detail"]), retry_after=reply.retry_after)
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
    celery = Celery("switchboard-web", set_as_current=False, amqp=AMQP)
    celery.config_from_object("celery_config")
    celery.conf.broker_url = broker_url
    # One try, or one with each of several brokers (`amqp://one//;amqp://two//`).
    celery.conf.task_publish_retry_policy = {"max_retries": broker_url.count(";"), "interval_start": 0}
    celery.conf.task_send_sent_event = False  # the workers' events have all of it, and a message is half as dear
    # In a new dictionary: the old one is celery_config's own, which the whole process shares.
    celery.conf.broker_transport_options = {
        **celery.conf.broker_transport_options,
        "connect_retries_timeout": SEND_TIMEOUT,
        "health_check_interval": HEALTH_CHECK_INTERVAL,
        "socket_timeout": SEND_TIMEOUT,
        "socket_connect_timeout": SEND_TIMEOUT,
    }
    celery.conf.broker_heartbeat = 0  # nobody would send any for connections that wait in a pool
    return celery
