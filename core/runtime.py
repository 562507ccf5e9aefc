"""What one process works with, built once from its settings: the only place where the parts are put together."""

from functools import cached_property

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from core.client_pool import ClientPool
from core.clock import Clock, SystemClock
from core.database import Database
from core.event_log import EventLog
from core.generation import GenerationService
from core.model_config import load_catalog
from core.presence import Presence
from core.replies import Replies
from core.session_service import SessionService
from core.settings import Settings
from core.sweep import Sweeper
from core.transcript import Transcript

SOCKET_TIMEOUT = 2.0
"""Seconds that one answer of Redis may take."""
CONNECT_TIMEOUT = 0.4
"""Seconds to reach Redis."""


class Runtime:
    """The parts, each made when it is first asked for."""

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, pool_size: int = 10, redis_retries: int = 3
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self._pool_size = pool_size
        self._redis_retries = redis_retries

    @cached_property
    def redis(self) -> Redis:
        """One pool of connections, made to fail soon rather than hang."""
        url = self.settings.redis_url
        over_tcp = {} if url.startswith("unix://") else {"socket_keepalive": True}
        return Redis.from_url(
            url,
            **over_tcp,
            decode_responses=True,
            socket_timeout=SOCKET_TIMEOUT,
            socket_connect_timeout=CONNECT_TIMEOUT,
            health_check_interval=25,
            max_connections=1000,
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), retries=self._redis_retries),
        )

    @cached_property
    def database(self) -> Database:
        """The SQL database."""
        return Database(self.settings.database_url, pool_size=self._pool_size)

    @cached_property
    def models(self) -> ClientPool:
        """The models on offer. Raises ModelConfigError."""
        return ClientPool(load_catalog(self.settings.models_path), self.settings.model_url)

    @cached_property
    def sessions(self) -> SessionService:
        """The rules about sessions."""
        return SessionService(self.settings, self.models, self.clock)

    @cached_property
    def log(self) -> EventLog:
        """The sessions' event logs."""
        return EventLog(self.redis)

    @cached_property
    def transcript(self) -> Transcript:
        """The words."""
        return Transcript(self.redis)

    @cached_property
    def generations(self) -> GenerationService:
        """The answers."""
        return GenerationService(
            self.database,
            self.sessions,
            self.models,
            self.log,
            self.transcript,
            self.clock,
            self.settings.lease,
        )

    @cached_property
    def sweeper(self) -> Sweeper:
        """The end of sessions."""
        return Sweeper(self.database, self.sessions, self.log)

    @cached_property
    def replies(self) -> Replies:
        """Answers of workers to waiting requests."""
        return Replies(self.redis)

    @cached_property
    def presence(self) -> Presence:
        """Who consumes which queue."""
        return Presence(self.redis)

    def close(self) -> None:
        """Give back every connection."""
        if "database" in self.__dict__:
            self.database.dispose()
        if "redis" in self.__dict__:
            self.redis.close()
