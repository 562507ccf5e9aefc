"""The domain's services, as far as the web uses them."""

from typing import TYPE_CHECKING, Protocol

from core.auth.accounts import Accounts
from core.auth.identity import Identity
from core.auth.proofs import Proofs
from core.clock import Clock
from core.conversation.event_log import EventLog
from core.conversation.extent import Extents
from core.conversation.transcript import Transcript
from core.generation.answers import Answers
from core.generation.service import GenerationService
from core.generation.stats import Load
from core.limits.open_streams import OpenStreams
from core.limits.rate_limit import RateLimiter
from core.llm.client_pool import ClientPool
from core.llm.cooldown import Cooldowns
from core.messaging.consumers import Presence
from core.messaging.replies import Replies
from core.messaging.revocations import Revocations
from core.operations.audit import Audit
from core.operations.check_results import CheckResults
from core.operations.counters import Counters
from core.operations.job_runs import JobRuns
from core.operations.usage import UsageRecords
from core.sessions.actions import SessionActions
from core.sessions.creation_limits import CreationLimits
from core.sessions.queries import SessionQueries
from core.sessions.service import SessionService
from core.stores.redis import Redis
from core.stores.tally import AnswerTally

if TYPE_CHECKING:
    from core.auth.oidc_login import IssuerLogin  # loads Authlib


class Services(Protocol):
    """A view of core.runtime.Runtime without the settings and the database, to which no public attribute of a service
    leads either (tests/web/test_services.py)."""

    @property
    def accounts(self) -> Accounts: ...
    @property
    def actions(self) -> SessionActions: ...
    @property
    def answers(self) -> Answers: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def check_results(self) -> CheckResults: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def cooldowns(self) -> Cooldowns: ...
    @property
    def counters(self) -> Counters: ...
    @property
    def creation_limits(self) -> CreationLimits: ...
    @property
    def extents(self) -> Extents: ...
    @property
    def generations(self) -> GenerationService: ...
    @property
    def identity(self) -> Identity: ...
    @property
    def issuer_login(self) -> "IssuerLogin": ...
    @property
    def limiter(self) -> RateLimiter: ...
    @property
    def load(self) -> Load: ...
    @property
    def log(self) -> EventLog: ...
    @property
    def models(self) -> ClientPool: ...
    @property
    def open_streams(self) -> OpenStreams: ...
    @property
    def presence(self) -> Presence: ...
    @property
    def proofs(self) -> Proofs: ...
    @property
    def redis(self) -> Redis: ...
    @property
    def replies(self) -> Replies: ...
    @property
    def revocations(self) -> Revocations: ...
    @property
    def runs(self) -> JobRuns: ...
    @property
    def session_queries(self) -> SessionQueries: ...
    @property
    def sessions(self) -> SessionService: ...
    @property
    def tally(self) -> AnswerTally: ...
    @property
    def transcript(self) -> Transcript: ...
    @property
    def usage(self) -> UsageRecords: ...
    def start_counting(self, process: str) -> None: ...
