"""`switchboard flower`: Flower, read-only, for requests alone that ask for it by one of this machine's names.

Flower itself answers to any name, so any page whose name points to this machine could read what the tasks are about;
and a password would leave /metrics and /healthcheck open. So the name is looked at before any of its handlers.
"""

import atexit
import contextlib
import signal
import sys
from collections.abc import Collection
from typing import Any

from flower.app import Flower
from flower.command import apply_env_options, extract_settings, setup_logging
from flower.urls import settings as handler_settings
from flower.utils.broker import RedisBase
from flower.views import BaseHandler
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from tornado.httputil import HTTPServerRequest
from tornado.options import options
from tornado.web import RequestHandler

from core.settings import Settings
from core.stores.redis import new_async_pool
from core.stores.redis_url import RedisServer, is_redis
from core.text.host_names import is_own

ADDRESS = "127.0.0.1"
MAX_TASKS = 10_000
"""Tasks that it remembers. Its own default of 100,000 takes hundreds of megabytes, and reads as a leak."""

TIMEOUT = 2.0
"""Seconds to reach the broker, and again for its answer."""


def serve(settings: Settings) -> None:
    """Serve Flower until SIGTERM or SIGINT ends the process. Its own options come from FLOWER_*, as ever."""
    from workers.app import app  # connects to nothing yet

    options.parse_command_line(["flower"])  # sets its logging up
    apply_env_options()
    options.address, options.port = ADDRESS, settings.flower_port
    options.read_only, options.max_tasks = True, MAX_TASKS
    extract_settings()
    setup_logging()
    flower = _OwnNamesOnly(settings.hosts, capp=app, options=options, **handler_settings)
    broker = settings.configured_broker_url or settings.redis_url
    if is_redis(broker):
        BaseHandler.get_broker = lambda handler: _RedisQueues(RedisServer.parse(broker).redis_url, handler)
    atexit.register(flower.stop)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    flower.start_http_server()
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        flower.start()


class _OwnNamesOnly(Flower):  # type: ignore[misc]
    """Flower, which routes a request to its handlers only if it is for this server."""

    def __init__(self, names: Collection[str], **settings: Any) -> None:
        super().__init__(**settings)
        self._names = names

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Every request comes through here: pages, the API, static files, sockets."""
        if is_own(request.headers.get("Host"), self._names):
            return super().find_handler(request, **kwargs)
        return self.get_handler_delegate(request, _WrongHost)


class _WrongHost(RequestHandler):
    def prepare(self) -> None:
        self.set_status(421)
        self.set_header("Content-Type", "text/plain")
        self.finish(
            "Flower answers to this machine's own names, such as localhost, and to those in SWITCHBOARD_HOSTS.\n"
        )


class _RedisQueues(RedisBase):  # type: ignore[misc]
    """The queues' lengths, for Flower's page of the broker: its own reading of URLs knows neither TLS without
    more ado nor a Unix socket's database and quoted path."""

    def __init__(self, url: str, handler: BaseHandler) -> None:
        super().__init__(url, broker_options=handler.capp.conf.broker_transport_options)
        self.redis = Redis.from_pool(
            new_async_pool(url, retry=Retry(NoBackoff(), 0), socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
        )
