"""gunicorn's configuration: one gevent process holds many open streams."""

from gevent import monkey

# Before anything else is imported: sockets, locks and threads become cooperative in the whole process.
monkey.patch_all()

from core.settings import Settings  # noqa: E402

_settings = Settings()

bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
worker_class = "gevent"
# Each open stream is a connection; gunicorn's default of 1,000 would be its limit.
worker_connections = 12_000
# Streams go on after a restart where they were, so there is no reason to wait long for them.
graceful_timeout = 3
timeout = 30
keepalive = 15
# No access log: it would hold the addresses of people whose sessions are to leave no trace.
accesslog = None
loglevel = "warning"
control_socket_disable = True
