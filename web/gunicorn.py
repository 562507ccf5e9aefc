"""gunicorn's configuration: one gevent process holds many open streams."""

import gc

from gevent import monkey

# Before anything else is imported: sockets, locks and threads become cooperative in the whole process.
monkey.patch_all()

from typing import Any  # noqa: E402

import gevent  # noqa: E402

from core.operations.file_descriptors import raise_limit  # noqa: E402
from core.settings import Settings  # noqa: E402
from core.stores.cluster import refuse_cluster  # noqa: E402
from web.context import context_of  # noqa: E402
from web.server.connections import KEEPALIVE_TIMEOUT  # noqa: E402

_settings = Settings()

bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
worker_class = "web.server.http_worker.HTTPWorker"
# Each open stream is a connection; gunicorn's default of 1,000 would be its limit. Half of the descriptors are left
# to what requests need besides: connections to Redis and the database, files.
worker_connections = min(12_000, raise_limit() // 2)
# Streams go on after a restart where they were, so there is no reason to wait long for them.
graceful_timeout = 5
timeout = 30
keepalive = int(KEEPALIVE_TIMEOUT)
# A file goes out as any answer does, with the same deadlines.
sendfile = False
# No access log: it would hold the addresses of people whose sessions are to leave no trace.
accesslog = None
loglevel = "warning"
control_socket_disable = True
# No peer is believed here, whereas gunicorn believes by default those on this machine and behind a Unix socket.
# The application reads the proxies' headers (web/auth/client_address.py), if there are proxies.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""


def on_starting(server: Any) -> None:
    """Refuse what would fail with most requests."""
    try:
        refuse_cluster(REDIS_URL=_settings.redis_url, BROKER_URL=_settings.configured_broker_url)
    except ValueError as error:
        raise SystemExit(f"switchboard: {error}") from None


def post_worker_init(worker: Any) -> None:
    """When the process is told to stop, let its streams end by themselves, between two events and not all at
    once: gunicorn would cut them at the end of the grace period, in the middle of whatever they were sending."""

    def watch() -> None:
        while worker.alive:
            gevent.sleep(0.1)
        context_of(worker.wsgi).hub.drain(graceful_timeout - 2)

    gevent.spawn(watch)
    # A full collection looks at every object: with ten thousand streams it held all of them up for 0.4 s, time and
    # again. What has been imported stays anyhow, and streams leave next to nothing for the collector.
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
