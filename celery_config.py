"""Celery's configuration: broker, queues, routes, schedule, reliability.

Read by the workers and by the web process, which only sends. Flower shows task arguments, so they are ids.
"""

import os
import time
from typing import Any

from celery import signals
from kombu.entity import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES

from core.operations.preflight.environment import settings_of_process

_settings = settings_of_process()

STATE_DIRECTORY = _settings.state_dir.absolute()
"""Where the processes write what `switchboard alive` reads."""


class QueueNames:
    """The queues. Chat has its own workers, so that long answers never keep a session command waiting."""

    SESSIONS = "sessions"
    CHAT = "chat"
    MAINTENANCE = "maintenance"
    ALL = (SESSIONS, CHAT, MAINTENANCE)


class TaskNames:
    """The tasks, named so that the web process can send them without importing the workers."""

    CREATE_SESSION = "sessions.create"
    SWITCH_MODEL = "sessions.switch_model"
    GENERATE = "chat.generate"
    SWEEP_EXPIRED = "maintenance.sweep_expired"
    REAP_GENERATIONS = "maintenance.reap_generations"
    CHECK_INVARIANTS = "maintenance.check_invariants"
    ALL = (CREATE_SESSION, SWITCH_MODEL, GENERATE, SWEEP_EXPIRED, REAP_GENERATIONS, CHECK_INVARIANTS)


COMMANDS = "commands"
"""The header of a message with commands: for each its id, its session's id, and its holder, who alone may read its
reply (core/messaging/replies.py). A message with one command has that command's arguments, one with several has a
list of arguments for each."""
REQUEST_IDS = "request_ids"
"""The header of a message with commands that has the id of each command's request."""
TRACEPARENT = "traceparent"
"""The header of a message that has the span of its sender (W3C Trace Context), where traces are taken."""
TRACEPARENTS = "traceparents"
"""The header of a message with several commands that has the span of each command's request."""
HOLDER = "holder"
"""The header of a message with one command that names its holder, for versions that know no groups."""


# By name: a process loads the one that it uses.
TRANSPORT_ALIASES.update(
    {
        "redis": "broker.redis_transport:Transport",
        "rediss": "broker.redis_transport:Transport",
        "sentinel": "broker.redis_transport:SentinelTransport",
        "sentinels": "broker.redis_transport:SentinelTransport",
        "amqp": "broker.amqp_transport:Transport",
        "amqps": "broker.amqp_transport:SecureTransport",
    }
)

SENT_AT = "sent_at"
"""The header of every message that says when it was sent, as Unix time: how long it has waited is in /metrics."""


@signals.before_task_publish.connect
def _note_time(headers: dict[str, Any], **_: Any) -> None:
    headers[SENT_AT] = time.time()


# Celery's command line takes BROKER_URL for itself, just as it is written: a TLS server would not be verified, and a
# Unix socket's URL not understood. What counts is our reading of it.
os.environ.pop("CELERY_BROKER_URL", None)
broker_url = _settings.broker_url

BROKER_VARIABLE = _settings.broker_variable
"""The environment variable that it comes from."""

_DELIVERY_LIMIT = 20
"""Deliveries after which RabbitMQ drops a message of a quorum queue, or dead-letters it if a policy says so: it has
ended all the workers that took it. 20 is what RabbitMQ 4 does by itself."""


def queues(queue_type: str) -> list[Queue]:
    """The queues, `classic` or `quorum`. Each has an exchange and a key of its own: with the default ones every queue
    would get every message."""
    quorum = {"x-queue-type": "quorum", "x-delivery-limit": _DELIVERY_LIMIT}
    arguments = quorum if queue_type == "quorum" else {}
    return [Queue(name, Exchange(name), routing_key=name, queue_arguments=arguments) for name in QueueNames.ALL]


task_default_queue_type = _settings.queue_type
task_queues = queues(_settings.queue_type)
task_create_missing_queues = False
task_default_queue = QueueNames.SESSIONS
# Mandatory: RabbitMQ would confirm, and drop, what is for a queue that has been deleted (broker/amqp_transport.py).
task_routes = {
    tasks: {"queue": queue, "mandatory": True}
    for tasks, queue in {
        "sessions.*": QueueNames.SESSIONS,
        "chat.*": QueueNames.CHAT,
        "maintenance.*": QueueNames.MAINTENANCE,
    }.items()
}

# Replies are our own (core/messaging/replies.py): a result backend costs a connection and a poll per waiting request.
task_ignore_result = True
task_store_errors_even_if_ignored = False
task_serializer = "json"
accept_content = ["json"]

# A task is done when it has run, not when it was taken; chat.generate, which costs money when it runs twice,
# says otherwise and relies on its lease. Every task is idempotent.
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1
# A thread can't be ended: the try leaves a page of traceback. What runs twice is the same as what runs once.
worker_cancel_long_running_tasks_on_connection_loss = False

_VISIBILITY_TIMEOUT = 120
"""Seconds before an unacknowledged task is delivered again: longer than the longest task that is acknowledged late,
and shorter than a command stays wanted (web/commands/), or its second delivery would come to nothing."""
broker_transport_options: dict[str, Any] = {
    "visibility_timeout": _VISIBILITY_TIMEOUT,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    # A worker's main thread waits for that long, and meanwhile does nothing else.
    "socket_timeout": 3,
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
    # A worker asks Redis for messages for a second at a time. When nothing is said for so much longer, also not that
    # there is none, its connection is made anew: to the new master, if there is one.
    "health_check_interval": 1,
}
broker_heartbeat = 4
"""Seconds between signs of life on an AMQP connection, at most. Without one for twice as long a worker gives it up,
which it looks for twice in that time: after 10 s at the latest. Until then what waits in the queues is not taken."""
visibility_timeout = _VISIBILITY_TIMEOUT
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_channel_error_retry = True  # such as a permission that was withdrawn: see workers/reconnection.py
broker_pool_limit = 50
broker_pool_acquire_timeout = 2
broker_connection_timeout = 2
# Two quick tries, or one with each of several brokers (`amqp://one//;amqp://two//`), then the sender gets an error:
# the queue is away. Requests have less time: see web/commands/.
task_publish_retry_policy = {
    "max_retries": max(1, broker_url.count(";")),
    "interval_start": 0.1,
    "interval_step": 0.1,
    "interval_max": 0.2,
}

# Flower needs the events.
worker_send_task_events = True
task_send_sent_event = True
worker_consumer = "workers.consumer:Consumer"
worker_enable_remote_control = True

# The schedule is only the periods below: nothing of it needs to be kept. A file of it, emptied by a full disk or a
# power cut, would keep Celery's usual scheduler from ever starting again.
beat_scheduler = "workers.beat:Scheduler"
_sweep_every = _settings.sweep_every.total_seconds()
_reap_every = _settings.reap_every.total_seconds()
_check_every = 60.0
# Each entry expires with its period: a worker that comes back late runs the newest, not a hundred old ones.
beat_schedule = {
    TaskNames.SWEEP_EXPIRED: {
        "task": TaskNames.SWEEP_EXPIRED,
        "schedule": _sweep_every,
        "options": {"expires": _sweep_every},
    },
    TaskNames.REAP_GENERATIONS: {
        "task": TaskNames.REAP_GENERATIONS,
        "schedule": _reap_every,
        "options": {"expires": _reap_every},
    },
    TaskNames.CHECK_INVARIANTS: {
        "task": TaskNames.CHECK_INVARIANTS,
        "schedule": _check_every,
        "options": {"expires": _check_every},
    },
}
beat_max_loop_interval = 5
timezone = "UTC"
