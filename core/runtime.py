"""What one process works with, built once from its settings: the only place where the parts are put together."""

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from core.auth.accounts import Accounts
from core.auth.api_keys import ApiKeys
from core.auth.identity import Identity
from core.auth.logins import Logins
from core.auth.passwords import Passwords
from core.auth.proofs import Proofs
from core.clock import Clock, SystemClock
from core.conversation.appender import Appender
from core.conversation.event_log import EventLog
from core.conversation.extent import Extents
from core.conversation.guest_settings import GuestSettings
from core.conversation.removals import Removals
from core.conversation.transcript import Transcript
from core.conversation.user_events import UserEvents
from core.generation import answer_metrics
from core.generation.admission import Admission
from core.generation.answer_requests import AnswerRequests
from core.generation.answers import Answers
from core.generation.attempts import Attempts
from core.generation.events import GenerationEvents
from core.generation.finalizer import Finalizer
from core.generation.handover_requests import HandoverRequests
from core.generation.heartbeat import Heartbeats
from core.generation.known_limits import KnownLimits
from core.generation.model_call import ModelCalls
from core.generation.promotion import Promotion
from core.generation.prompts import Prompts
from core.generation.provider_slots import ProviderSlots
from core.generation.reaper import Reaper
from core.generation.scheduler import FairQueue
from core.generation.service import GenerationService
from core.generation.stats import Load
from core.generation.token_size import TokenSizes
from core.generation.waiting import WaitingQuestions
from core.generation.wishes import Targets
from core.generation.writer import Writer
from core.limits.leases import Leases
from core.limits.message_limits import CONCURRENT, MessageLimits, OwnerLimits
from core.limits.open_streams import OpenStreams, StreamLimits
from core.limits.rate_limit import RateLimiter
from core.llm.catalog import load_catalog
from core.llm.client_pool import ClientPool
from core.llm.cooldown import Cooldowns
from core.llm.event_loop import EventLoop
from core.llm.probe import Prober
from core.messaging.consumers import Presence
from core.messaging.replies import Replies
from core.messaging.revocations import Revocations
from core.operations.audit import Audit
from core.operations.check_results import CheckResults
from core.operations.counters import Counters
from core.operations.healing import Healing
from core.operations.installation import Installations
from core.operations.invariants import Invariants, Periods
from core.operations.job_runs import JobRuns
from core.operations.usage import UsageRecords
from core.operations.users import Users
from core.sessions.actions import SessionActions
from core.sessions.claim import Claims
from core.sessions.creation_limits import CreationLimits
from core.sessions.deletion import Deletion
from core.sessions.lifetime import Lifetime
from core.sessions.queries import SessionQueries
from core.sessions.search import Search
from core.sessions.service import SessionRules, SessionService
from core.sessions.sweep import Sweeper
from core.settings import Settings
from core.stores.database import TRANSACTION_TIMEOUT, Database
from core.stores.installation_id import installation_id
from core.stores.quarantine import Quarantine
from core.stores.redis import SOCKET_TIMEOUT, AsyncScripts, Redis, connect
from core.stores.tally import AnswerTally

if TYPE_CHECKING:
    from core.auth.issuer import Issuer
    from core.auth.oidc import Tokens
    from core.auth.oidc_login import IssuerLogin

LIMITS_TIMEOUT = 0.2
"""Seconds to reach Redis, and again for its answer, where a limit is checked: a request that can't be counted is
to be answered within half a second. One try: the next one would be the client's."""


class Runtime:
    """The parts, each made when it is first asked for."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        pool_size: int = 10,
        redis_retries: int = 3,
        redis_timeout: float = SOCKET_TIMEOUT,
        database_patience: float = TRANSACTION_TIMEOUT,
        queue_timeout: float | None = None,
    ) -> None:
        """`queue_timeout`: seconds for which a thread waits for a connection to a store, where there are many more
        threads than connections."""
        self.settings = settings
        self.clock = clock or SystemClock()
        self._pool_size = pool_size
        self._redis_retries = redis_retries
        self._redis_timeout = redis_timeout
        self._database_patience = database_patience
        self._queue_timeout = queue_timeout

    @cached_property
    def redis(self) -> Redis:
        """One pool of connections, made to fail soon rather than hang."""
        return connect(
            self.settings.redis_url,
            timeout=self._redis_timeout,
            retries=self._redis_retries,
            queue_timeout=self._queue_timeout,
        )

    @cached_property
    def limits_redis(self) -> Redis:
        """Another one, for limits, made to fail at once."""
        return connect(
            self.settings.redis_url,
            timeout=LIMITS_TIMEOUT,
            connect_timeout=LIMITS_TIMEOUT,
            queue_timeout=self._queue_timeout,
        )

    @cached_property
    def _async_scripts(self) -> AsyncScripts:
        return AsyncScripts(self.settings.redis_url, timeout=self._redis_timeout, retries=self._redis_retries)

    @cached_property
    def database(self) -> Database:
        """The SQL database."""
        return Database(
            self.settings.database_url,
            pool_size=self._pool_size,
            patience=self._database_patience,
            queue_timeout=self._queue_timeout,
        )

    @cached_property
    def event_loop(self) -> EventLoop:
        """Where answers are read and written."""
        import uvloop  # only the processes that ask models load it

        return EventLoop(uvloop.new_event_loop)

    @cached_property
    def models(self) -> ClientPool:
        """The models on offer. Raises ModelConfigError."""
        settings = self.settings
        key = settings.model_key.get_secret_value() if settings.model_key else ""
        return ClientPool(load_catalog(settings.models_path), settings.model_url, key)

    @cached_property
    def identity(self) -> Identity:
        """Whom a credential speaks for."""
        return Identity(self.database, self.sessions, self.logins, self.api_keys, self._tokens, self.clock)

    @cached_property
    def _tokens(self) -> "Tokens | None":
        audience = self.settings.oidc_audience
        if self.issuer is None or not audience:
            return None
        from core.auth.oidc import Tokens

        return Tokens(self.issuer, audience, "SWITCHBOARD_OIDC_AUDIENCE")

    @cached_property
    def accounts(self) -> Accounts:
        """What people do with their accounts."""
        return Accounts(
            self.database,
            Passwords(),
            self.logins,
            self.api_keys,
            self.sweeper,
            self.revocations,
            self.audit,
            self.clock,
            registration_open=self.settings.registration == "open",
        )

    @cached_property
    def logins(self) -> Logins:
        """The browsers that people are logged in with."""
        return Logins(Lifetime(self.settings.user_idle, self.settings.user_max), self.clock)

    @cached_property
    def api_keys(self) -> ApiKeys:
        """The keys of programs."""
        return ApiKeys(self.clock)

    @cached_property
    def issuer(self) -> "Issuer | None":
        """The identity provider, if one is configured."""
        if self.settings.oidc_issuer is None:
            return None
        from core.auth.issuer import (
            Issuer,  # the cryptography takes memory in every process, where nothing else needs it
        )

        return Issuer(self.settings.oidc_issuer, self.settings.oidc_jwks_url)

    @cached_property
    def issuer_login(self) -> "IssuerLogin":
        """Browsers' logins through the identity provider. Only where one is configured for them."""
        from core.auth.oidc_login import IssuerLogin  # Authlib takes time and memory, where nothing else needs it

        settings = self.settings
        assert self.issuer is not None
        assert settings.oidc_client_id is not None
        secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else None
        return IssuerLogin(self.issuer, settings.oidc_client_id, secret, self.redis, self.audit)

    @cached_property
    def audit(self) -> Audit:
        """What an operator may have to account for."""
        return Audit(self.database, self.clock)

    @cached_property
    def sessions(self) -> SessionService:
        """The rules about sessions."""
        settings = self.settings
        rules = SessionRules(
            anonymous=Lifetime(settings.anonymous_idle, settings.anonymous_max),
            owned=Lifetime(settings.user_idle, settings.user_max),
            max_per_user=settings.sessions_per_user,
        )
        return SessionService(self.models, rules, self.clock)

    @cached_property
    def creation_limits(self) -> CreationLimits:
        """How often sessions may be created."""
        settings = self.settings
        return CreationLimits(
            self.limiter,
            self.models,
            per_address=settings.limit_create,
            all_addresses=settings.limit_create_global,
            per_user=settings.limit_create_user,
        )

    @cached_property
    def session_queries(self) -> SessionQueries:
        """What is asked about sessions, outside of a transaction."""
        return SessionQueries(self.database, self.clock, self.sessions, self.search)

    @cached_property
    def search(self) -> Search:
        """The search in users' own sessions."""
        return Search(self.database, self._quarantine("search"))

    @cached_property
    def user_events(self) -> UserEvents:
        """What users are told of their sessions."""
        return UserEvents(self.redis)

    @cached_property
    def limiter(self) -> RateLimiter:
        """How often is too often."""
        return RateLimiter(self.limits_redis)

    @cached_property
    def open_streams(self) -> OpenStreams:
        """How many event streams are open."""
        settings = self.settings
        limits = StreamLimits(settings.streams_session, settings.streams_user, settings.streams_address)
        return OpenStreams(self.limits_redis, self.limiter, limits)

    @cached_property
    def message_limits(self) -> MessageLimits:
        """How much one owner may ask for."""
        settings = self.settings
        return MessageLimits(
            OwnerLimits(
                settings.concurrent_anonymous,
                settings.limit_messages_anonymous,
                settings.limit_tokens_anonymous,
                settings.limit_cost_anonymous,
            ),
            OwnerLimits(
                settings.concurrent_user,
                settings.limit_messages_user,
                settings.limit_tokens_user,
                settings.limit_cost_user,
            ),
            self.limiter,
            Leases(self.limits_redis, CONCURRENT),
            self.limits_redis,
        )

    @cached_property
    def log(self) -> EventLog:
        """The sessions' event logs."""
        return EventLog(self.redis)

    @cached_property
    def transcript(self) -> Transcript:
        """The words."""
        return Transcript(self.database, self.redis)

    @cached_property
    def guest_settings(self) -> GuestSettings:
        """What guests have set for their sessions."""
        return GuestSettings(self.redis)

    @cached_property
    def generations(self) -> GenerationService:
        """The answers, as the front end sees them."""
        return GenerationService(
            self.database,
            self.admission,
            self.promotion,
            self.waiting,
            Targets(self.transcript),
            self.log,
            self.message_limits,
            self.models,
            self.requests,
            self._token_sizes,
            self.clock,
        )

    @cached_property
    def admission(self) -> Admission:
        """Takes what is to be answered."""
        return Admission(
            self.database,
            self.sessions,
            self.finalizer,
            self.removals,
            self.queue,
            self.log,
            self.transcript,
            self.message_limits,
            self.models,
            self.user_events,
            self.clock,
        )

    @cached_property
    def waiting(self) -> WaitingQuestions:
        """The questions that wait for the end of an answer."""
        return WaitingQuestions(self.database, self.sessions, self.log, self.removals, self.clock)

    @cached_property
    def promotion(self) -> Promotion:
        """Has them answered."""
        return Promotion(
            self.admission,
            self.waiting,
            Targets(self.transcript),
            self.database,
            self.finalizer,
            self.message_limits,
            self.models,
            self.clock,
        )

    @cached_property
    def requests(self) -> AnswerRequests:
        """The requests that bring their own conversation."""
        return AnswerRequests(self.redis)

    @cached_property
    def answers(self) -> Answers:
        """Answers by their ids."""
        return Answers(self.database, self.clock)

    @cached_property
    def extents(self) -> Extents:
        """Where answers lie in their sessions' logs."""
        return Extents(self.redis)

    @cached_property
    def attempts(self) -> Attempts:
        """The claims of workers on generations."""
        return Attempts(self.database, self.clock, self.settings.lease)

    @cached_property
    def finalizer(self) -> Finalizer:
        """The ends of answers."""
        return Finalizer(
            self.database,
            self.sessions,
            self.attempts,
            self.generation_events,
            self.transcript,
            self.message_limits,
            self.models,
            self.user_events,
            self.clock,
        )

    @cached_property
    def generation_events(self) -> GenerationEvents:
        """The events of answers."""
        appender = Appender(self.log, self._async_scripts)
        return GenerationEvents(self.database, self.attempts, self.log, appender, self.transcript, self.clock)

    @cached_property
    def queue(self) -> FairQueue:
        """Whose turn it is."""
        return FairQueue(
            self.database,
            self.redis,
            self.attempts,
            self.provider_slots,
            self.log,
            self._quarantine("queue"),
            self.clock,
        )

    @cached_property
    def provider_slots(self) -> ProviderSlots:
        """How many requests each provider gets at once."""
        return ProviderSlots(Leases(self.redis, "slots"), self.models, self.cooldowns, self.settings.lease)

    @cached_property
    def writer(self) -> Writer:
        """Writes answers."""
        return Writer(
            self.queue,
            self.attempts,
            self.finalizer,
            self.models,
            self.cooldowns,
            self.generation_events,
            self.heartbeats,
            ModelCalls(self.models, self._prompts, self.generation_events, self.event_loop),
            self.message_limits,
            self.event_loop,
            self.promotion.promote,
        )

    @cached_property
    def _prompts(self) -> Prompts:
        known_limits = KnownLimits(self.redis)
        return Prompts(self.database, self.transcript, self.models, self._token_sizes, known_limits, self.requests)

    @cached_property
    def _token_sizes(self) -> TokenSizes:
        return TokenSizes(self.redis)

    @cached_property
    def heartbeats(self) -> Heartbeats:
        """What keeps an answer being written."""
        return Heartbeats(self.attempts, self.log, self.generation_events, self.message_limits, self.redis)

    @cached_property
    def reaper(self) -> Reaper:
        """Looks after answers whose worker is gone."""
        return Reaper(
            self.database,
            self.attempts,
            self.queue,
            self.finalizer,
            self.removals,
            self.tally,
            self.search,
            self.waiting,
            self.promotion,
            self._quarantine("reaper"),
            self.clock,
        )

    @cached_property
    def periods(self) -> Periods:
        """How often the scheduled jobs run, and how long a lease lasts."""
        settings = self.settings
        return Periods(lease=settings.lease, reap_every=settings.reap_every, sweep_every=settings.sweep_every)

    @property
    def audit_retention(self) -> timedelta | None:
        """How long the audit log keeps an event; None: for ever."""
        return self.settings.audit_retention

    @cached_property
    def invariants(self) -> Invariants:
        """What must hold whatever has died."""
        return Invariants(
            self.periods, self.database, self.redis, self.log, self._quarantine("invariants"), self.clock
        )

    @cached_property
    def healing(self) -> Healing:
        """Mends what breaks them."""
        return Healing(self.database, self.redis, self.installations, self.log, self._quarantine("healing"))

    @cached_property
    def installations(self) -> Installations:
        """Those that use this Redis."""
        return Installations(lambda: installation_id(self.database), self.redis)

    @cached_property
    def check_results(self) -> CheckResults:
        """What the last check of that found."""
        return CheckResults(self.redis, self.clock)

    @cached_property
    def load(self) -> Load:
        """What is under way."""
        return Load(self.database, self.clock)

    @cached_property
    def cooldowns(self) -> Cooldowns:
        """What is known of the models' health."""
        return Cooldowns(self.redis, self.counters.count_model_failure, self.counters.count_cooldown)

    @cached_property
    def prober(self) -> Prober:
        """Finds out which models are well again."""
        return Prober(self.models, self.cooldowns, self._quarantine("probes"), self.event_loop)

    @cached_property
    def sweeper(self) -> Sweeper:
        """Deletes expired sessions, and accounts that have been given up."""
        return Sweeper(
            self.database, self.sessions, self._deletion, self.removals, self._quarantine("sweep"), self.clock
        )

    @cached_property
    def _deletion(self) -> Deletion:
        return Deletion(self.sessions, self.removals, self.tally)

    @cached_property
    def tally(self) -> AnswerTally:
        """What is counted of answers."""
        return AnswerTally(self.database, answer_metrics.count, self._quarantine("tally"))

    @cached_property
    def usage(self) -> UsageRecords:
        """What users' answers have come to."""
        return UsageRecords(self.database, self.clock)

    @cached_property
    def users(self) -> Users:
        """Users, as operators see them."""
        return Users(self.database, self.clock)

    @cached_property
    def removals(self) -> Removals:
        """What sessions leave in Redis."""
        return Removals(self.database, self.redis, self.log, self.message_limits, self._quarantine("removals"))

    @cached_property
    def revocations(self) -> Revocations:
        """What was proved and holds no more."""
        return Revocations(self.redis)

    @cached_property
    def actions(self) -> SessionActions:
        """What is done to one session."""
        claims = Claims(
            self.database,
            self.sessions,
            self.transcript,
            self.guest_settings,
            self.search,
            self.removals,
            self.finalizer.publish_pending,
        )
        return SessionActions(
            self.database,
            self.sessions,
            claims,
            self._deletion,
            self.log,
            self.session_queries,
            self.guest_settings,
            self.search,
            self.user_events,
            self.removals,
            self.revocations,
            self.audit,
            HandoverRequests(self.log),
            self.transcript,
        )

    @cached_property
    def proofs(self) -> Proofs:
        """Whether what was proved still holds."""
        return Proofs(self.database, self.clock)

    @cached_property
    def replies(self) -> Replies:
        """Answers of workers to waiting requests."""
        return Replies(self.redis)

    @cached_property
    def presence(self) -> Presence:
        """The queues that workers consume."""
        return Presence(self.redis)

    @cached_property
    def runs(self) -> JobRuns:
        """The last runs of scheduled jobs."""
        return JobRuns(self.redis)

    @cached_property
    def counters(self) -> Counters:
        """What this process counts by the way."""
        return Counters(self.limits_redis)

    def start_counting(self, process: str) -> None:
        """Tell for /metrics, from now on, what this process counts and uses. `process` is its kind."""
        self.counters.watch_pool("database", process, self.database.pool_use)
        self.counters.watch_pool("redis", process, self.redis.pool_use)
        self.counters.watch_pool("redis-limits", process, self.limits_redis.pool_use)
        self.counters.start(process)

    def _quarantine(self, job: str) -> Quarantine[Any]:
        return Quarantine(job, self.clock, self.counters.count_failure)

    def close(self) -> None:
        """Give back every connection."""
        if "event_loop" in self.__dict__:
            if "_async_scripts" in self.__dict__:
                self.event_loop.run(self._async_scripts.close())
            self.event_loop.close()
        if "counters" in self.__dict__:
            self.counters.stop()
        if "open_streams" in self.__dict__:
            self.open_streams.stop()
        if "database" in self.__dict__:
            self.database.dispose()
        for client in ("redis", "limits_redis"):
            if client in self.__dict__:
                self.__dict__[client].close()
