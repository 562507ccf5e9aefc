"""gunicorn's log, which is this process's like any other's."""

from typing import Any

from gunicorn.glogging import Logger as GunicornLogger


class Logger(GunicornLogger):
    """Leaves what is done with its lines to core/observability/logs.py."""

    def setup(self, cfg: Any) -> None:
        """Hand the lines on."""
        self.cfg = cfg
        self._access_log_enabled = False
        self.error_log.propagate = True
