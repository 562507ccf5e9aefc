"""`switchboard flower`: Flower, read-only, for requests alone that ask for it by one of this machine's names.

Flower itself answers to any name, so any page whose name points to this machine could read what the tasks are about.
So the name is looked at before any of its handlers. A password, which would leave its /metrics open, holds there too.
"""

import atexit
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from flower.app import Flower
from flower.command import apply_env_options, extract_settings, setup_logging
from flower.urls import settings as handler_settings
from flower.utils.broker import RedisBase
from flower.views import BaseHandler
from flower.views.monitor import Metrics
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.options import options
from tornado.web import RequestHandler, authenticated

from cli.addresses import check_flower_guarded, check_port
from cli.console import fail
from cli.flower_events import Events
from core.observability.logs import configure_logs
from core.operations.preflight.stores import require_stores, store_checks
from core.settings import Settings
from core.stores.redis import new_async_pool
from core.stores.redis_url import RedisServer, is_redis
from core.text.host_names import is_own
from workers.brokers import broker_checks

logger = logging.getLogger(__name__)

MAX_TASKS = 10_000
"""Tasks that it remembers. Its own default of 100,000 takes hundreds of megabytes, and reads as a leak."""

OFFLINE_WORKER_TTL = 60
"""Seconds after which a worker that has gone is no longer in its metrics."""
RUNTIME_BUCKETS = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0]
"""Seconds of tasks' runtimes in its metrics: an answer takes minutes, its own buckets end at ten seconds."""
SAVE_INTERVAL = 300_000
"""Milliseconds between two writes of its history, for a Flower that is killed."""

TIMEOUT = 2.0
"""Seconds to reach the broker, and again for its answer."""


def serve(settings: Settings) -> None:
    """Serve Flower until SIGTERM or SIGINT ends the process. Its own options come from FLOWER_*, as ever.

    Raises CommandError when the port is taken, and SystemExit when the broker can't be used.
    """
    check_port(settings.flower_address, settings.flower_port, "FLOWER_PORT", "FLOWER_ADDRESS")
    check_flower_guarded(settings.flower_address, settings.flower_basic_auth is not None)
    checks = store_checks(broker_url=settings.broker_url, broker_variable=settings.broker_variable)
    require_stores(checks or broker_checks(settings.broker_variable, settings.broker_url))
    from workers.taskless import app  # connects to nothing yet

    options.parse_command_line(["flower"])
    options.purge_offline_workers, options.task_runtime_metric_buckets = OFFLINE_WORKER_TTL, RUNTIME_BUCKETS
    options.db = str(_history(settings.state_dir))
    options.persistent, options.state_save_interval = True, SAVE_INTERVAL
    apply_env_options()
    options.url_prefix = settings.flower_url_prefix.strip("/") or None
    options.basic_auth = _users(settings)
    options.address, options.port = settings.flower_address, settings.flower_port
    options.read_only, options.max_tasks = True, MAX_TASKS
    extract_settings()
    setup_logging()
    configure_logs("flower", settings.log_level, settings.log_format, settings.secrets)
    if not os.access(Path(options.db).parent, os.W_OK):
        logger.warning("the history can't be written to %s: it ends with this process", options.db)
    names = {*settings.hosts, settings.flower_address}  # an address is no name that a page can have
    flower = _OwnNamesOnly(names, settings.broker_variable, capp=app, options=options, **handler_settings)
    broker = settings.configured_broker_url or settings.redis_url
    if is_redis(broker):
        BaseHandler.get_broker = lambda handler: _RedisQueues(RedisServer.parse(broker).redis_url, handler)
    atexit.register(flower.stop)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    flower.start_http_server()
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        flower.start()


def _history(state_dir: Path) -> Path:
    """The file that it keeps its history in, so that a restart forgets nothing; for its owner's eyes only."""
    directory = state_dir.absolute() / "flower"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        fail(f"the directory {directory} can't be made: {error.strerror} (SWITCHBOARD_STATE_DIR)")
    return directory / "history"


def _users(settings: Settings) -> list[str]:
    return settings.flower_basic_auth.get_secret_value().split(",") if settings.flower_basic_auth else []


class _OwnNamesOnly(Flower):  # type: ignore[misc]
    """Flower, which routes a request to its handlers only if it is for this server."""

    def __init__(self, names: Collection[str], broker_variable: str, **settings: Any) -> None:
        events = Events(
            settings["capp"],
            IOLoop.instance(),
            broker_variable=broker_variable,
            db=options.db,
            persistent=options.persistent,
            enable_events=options.enable_events,
            state_save_interval=options.state_save_interval,
            max_workers_in_memory=options.max_workers,
            max_tasks_in_memory=options.max_tasks,
        )
        super().__init__(events=events, **settings)
        self._names = names

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Every request comes through here: pages, the API, static files, sockets."""
        if not is_own(request.headers.get("Host"), self._names):
            return self.get_handler_delegate(request, _WrongHost)
        if request.path.endswith("/metrics"):
            return self.get_handler_delegate(request, _Metrics)
        return super().find_handler(request, **kwargs)


class _WrongHost(RequestHandler):
    def prepare(self) -> None:
        self.set_status(421)
        self.set_header("Content-Type", "text/plain")
        self.finish(
            "Flower answers to this machine's own names, such as localhost, and to those in SWITCHBOARD_HOSTS.\n"
        )


class _Metrics(Metrics):  # type: ignore[misc]
    """For those who have the password, if there is one."""

    @authenticated
    async def get(self) -> None:
        await super().get()


class _RedisQueues(RedisBase):  # type: ignore[misc]
    """The queues' lengths, for Flower's page of the broker: its own reading of URLs knows neither TLS without
    more ado nor a Unix socket's database and quoted path."""

    def __init__(self, url: str, handler: BaseHandler) -> None:
        super().__init__(url, broker_options=handler.capp.conf.broker_transport_options)
        self.redis = Redis.from_pool(
            new_async_pool(url, retry=Retry(NoBackoff(), 0), socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
        )
