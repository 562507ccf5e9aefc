"""gunicorn's configuration: one gevent process holds many open streams."""

import gc
import os
import socket
import sys
from collections.abc import Collection, Sequence

from gevent import monkey

# Before anything else is imported: sockets, locks and threads become cooperative in the whole process.
monkey.patch_all()

from typing import Any  # noqa: E402

import gevent  # noqa: E402
from gevent.hub import Hub  # noqa: E402

from core.llm.catalog import require_catalog  # noqa: E402
from core.observability.logs import configure_logs, log_uncaught  # noqa: E402
from core.observability.tracing import start_tracing, stop_tracing  # noqa: E402
from core.operations.file_descriptors import raise_limit  # noqa: E402
from core.operations.preflight.environment import settings_of_process, variable_of  # noqa: E402
from core.settings import Settings  # noqa: E402
from web.server.connections import KEEPALIVE_TIMEOUT  # noqa: E402

STORES = ("configured_database_url", "configured_redis_url", "configured_broker_url")
"""The options that name them."""

_settings = settings_of_process()
configure_logs("web", _settings.log_level, _settings.log_format, _settings.secrets)
# What a greenlet raises and nobody catches.
Hub.print_exception = lambda _hub, _context, kind, error, trace: log_uncaught(kind, error, trace)

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
# It would hold the addresses of people whose sessions are to leave no trace. Ours is web/middleware/access_log.py.
accesslog = None
loglevel = _settings.log_level
logger_class = "web.server.logger.Logger"
control_socket_disable = True
# No peer is believed here, whereas gunicorn believes by default those on this machine and behind a Unix socket.
# The application reads the proxies' headers (web/auth/client_address.py), if there are proxies.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""


def on_starting(server: Any) -> None:
    """Say in one line what can't be used, before a process that needs it can show a traceback; and at each SIGHUP as
    well, where gunicorn would end the process that answers, and then itself."""
    read = _read()
    _try_stores()
    reload = server.handle_hup

    def reload_what_is_usable() -> None:
        nonlocal read
        try:
            anew = _read()
            _require_listening(anew, server.cfg.address)
            _require_no_defaults(read, anew)
            _try_stores(*(["--at-once"] if _stores(anew) != _stores(read) else []))
        except SystemExit as refusal:
            why = refusal.code if isinstance(refusal.code, str) else "switchboard: a store can't be used"
            server.log.error("not reloaded, all goes on with what was read before; %s", why)
        else:
            read = anew
            reload()

    server.handle_hup = reload_what_is_usable


def _read() -> Settings:
    """What a process reads at its start. Raises SystemExit with the line that says what is wrong with it."""
    settings = settings_of_process()
    require_catalog(settings.models_path)
    return settings


def _require_listening(settings: Settings, held: Collection[tuple[str, int]]) -> None:
    """Raise SystemExit when nothing can listen at the address, and it is none of those that are held already."""
    address = settings.host, settings.port
    if address in held:
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server(address, family=family).close()
    except OSError as error:
        raise SystemExit(f"switchboard: PORT={settings.port}: {error.strerror}; choose another") from None


def _require_no_defaults(read: Settings, anew: Settings) -> None:
    """Raise SystemExit when a store that was named is named no more, as in a secrets directory that was emptied: the
    default in its place would be another installation's, or an empty one."""
    for option in STORES:
        if getattr(read, option) is not None and getattr(anew, option) is None:
            raise SystemExit(
                f"switchboard: {variable_of(option)}: it was set, and is no more; restart to use the default"
            )


def _stores(settings: Settings) -> Sequence[str | None]:
    return [getattr(settings, option) for option in STORES]


def _try_stores(*options: str) -> None:
    """Try the stores of the environment. Raises SystemExit with a number after it was said on standard error."""
    # In a process of its own: what that loads would stay in this one, which answers nothing.
    command = [sys.executable, "-m", "core.operations.preflight", *options]
    tried = os.posix_spawn(sys.executable, command, os.environ)
    _, status = monkey.get_original("os", "waitpid")(tried, 0)
    if status:
        raise SystemExit(os.waitstatus_to_exitcode(status))


def pre_fork(_server: Any, _worker: Any) -> None:
    """What is imported so far is shared with the worker, as long as neither of them writes to it: a collection would,
    to every object."""
    gc.freeze()


def post_fork(_server: Any, _worker: Any) -> None:
    """Take traces in the process that answers, if they are wanted: what sends them does not survive a fork."""
    start_tracing(_settings.tracing, "web")


def worker_exit(_server: Any, worker: Any) -> None:
    """Send the last traces, and tell for /metrics what the process has counted last.

    gunicorn's first process calls this too, for a worker that it finds gone; what is raised there ends the server.
    """
    if worker.pid != os.getpid():
        return
    from web.context import context_of

    stop_tracing()
    application = vars(worker).get("wsgi")  # none has been loaded where the process was stopped before
    if application is not None:
        context_of(application).services.counters.stop()


def post_worker_init(worker: Any) -> None:
    """When the process is told to stop, let its streams end by themselves, between two events and not all at
    once: gunicorn would cut them at the end of the grace period, in the middle of whatever they were sending."""
    from web.context import context_of

    def watch() -> None:
        while worker.alive:
            gevent.sleep(0.1)
        hub = context_of(worker.wsgi).hub
        hub.drain(graceful_timeout - 2)
        gevent.sleep(graceful_timeout - 2)
        hub.drain(0)  # what has begun since, for a request that was here already

    gevent.spawn(watch)
    context_of(worker.wsgi).services.start_counting("web")
    # A full collection looks at every object: with ten thousand streams it held all of them up for 0.4 s, time and
    # again. What has been imported stays anyhow, and streams leave next to nothing for the collector.
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
