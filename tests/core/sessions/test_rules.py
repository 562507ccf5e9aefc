"""Users x sessions x time against a model of the rules: whatever is done in whatever order, the service and the
model agree on who may do what, what it is told, and what is left."""

import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from core.errors import (
    NotOwner,
    SessionExpired,
    SessionInvalid,
    SwitchboardError,
    UnknownModel,
    VersionConflict,
)
from core.llm.catalog import ModelCatalog
from core.llm.client_pool import ClientPool
from core.llm.model_config import ModelConfig
from core.migrations.runner import migrate
from core.sessions.credential import Credential
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.tables import Session
from tests.conftest import TurnableClock, new_user
from tests.support.session_rules import RULES

pytestmark = pytest.mark.slow

IDLE = {True: timedelta(minutes=30), False: timedelta(days=14)}
LIFE = {True: timedelta(hours=24), False: timedelta(days=90)}
MODELS = ("small", "large")
people = st.integers(0, 2)
spans = st.sampled_from([timedelta(seconds=1), timedelta(minutes=10), timedelta(minutes=31), timedelta(days=15)])


@dataclass(frozen=True)
class Known:
    """What the model knows of a session."""

    credential: Credential
    owner: UUID | None
    model: str
    version: int
    expires_at: datetime
    ends_at: datetime


class Rules(RuleBasedStateMachine):
    """The model, beside the service on a real database."""

    sessions: Bundle[UUID] = Bundle("sessions")

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        url = f"sqlite:///{self.directory / 'rules.db'}"
        migrate(url)
        self.database = Database(url)
        self.clock = TurnableClock()
        config = ModelConfig(label="x", provider="openai", model="x", weights="x")
        catalog = ModelCatalog(default="small", models=dict.fromkeys(MODELS, config))
        self.service = SessionService(ClientPool(catalog, ""), RULES, self.clock)
        self.users: list[UUID | None] = [None, new_user(self.database), new_user(self.database)]
        self.known: dict[UUID, Known] = {}

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.dispose()
            shutil.rmtree(self.directory)

    @rule(target=sessions, person=people)
    def create(self, person: int) -> UUID:
        owner, credential, now = self.users[person], Credential.issue(), self.clock.now()
        with self.database.writing() as db:
            self.service.create_session(
                db,
                owner,
                session_id=credential.session_id,
                secret_hash=None if owner else credential.secret_hash,
            )
        ends_at = now + LIFE[owner is None]
        expires_at = min(now + IDLE[owner is None], ends_at)
        self.known[credential.session_id] = Known(credential, owner, "small", 1, expires_at, ends_at)
        return credential.session_id

    @rule(session=sessions, person=people, secret=st.booleans())
    def validate(self, session: UUID, person: int, secret: bool) -> None:
        self._agree(
            session, self._expected(session, person, secret), lambda db: self._validate(db, session, person, secret)
        )

    @rule(session=sessions, person=people, secret=st.booleans())
    def extend(self, session: UUID, person: int, secret: bool) -> None:
        """As the routes do: first validate, then extend."""
        expected = self._expected(session, person, secret)

        def act(db: Any) -> None:
            self._validate(db, session, person, secret)
            self.service.extend_session(session, db)

        if self._agree(session, expected, act):
            known, now = self.known[session], self.clock.now()
            anonymous = known.owner is None
            extended = min(now + IDLE[anonymous], known.ends_at)
            moved = extended - known.expires_at
            if moved >= IDLE[anonymous] / 20 or (extended == known.ends_at and moved > timedelta(0)):
                self.known[session] = replace(known, expires_at=extended)

    @rule(
        session=sessions,
        person=people,
        model=st.sampled_from([*MODELS, "retired"]),
        behind=st.sampled_from([None, 0, 1]),
    )
    def switch(self, session: UUID, person: int, model: str, behind: int | None) -> None:
        known, user = self.known.get(session), self.users[person]
        expected: type[SwitchboardError] | None = None
        if model not in MODELS:
            expected = UnknownModel
        elif known is None:
            expected = SwitchboardError
        elif known.owner != user:
            expected = NotOwner
        elif known.expires_at <= self.clock.now():
            expected = SessionExpired
        elif behind:
            expected = VersionConflict
        version = None if behind is None or known is None else known.version - behind
        if self._agree(
            session, expected, lambda db: self.service.switch_model(session, model, db, user, version=version)
        ):
            assert known is not None
            self.known[session] = replace(known, model=model, version=known.version + 1)

    @rule(session=sessions, person=st.integers(1, 2), secret=st.booleans())
    def claim(self, session: UUID, person: int, secret: bool) -> None:
        known, user = self.known.get(session), self.users[person]
        assert user is not None
        proof = self._proof(session, secret)
        expected: type[SwitchboardError] | None = None
        if known is None:
            expected = SwitchboardError
        elif known.owner is not None:
            expected = NotOwner
        elif not secret:
            expected = SessionInvalid
        elif known.expires_at <= self.clock.now():
            expected = SessionExpired
        if self._agree(
            session, expected, lambda db: self.service.claim_session(session, db, user, secret_hash=proof or b"")
        ):
            assert known is not None
            now = self.clock.now()
            ends_at = now + LIFE[False]
            self.known[session] = replace(
                known, owner=user, version=known.version + 1, expires_at=now + IDLE[False], ends_at=ends_at
            )

    @rule(session=sessions)
    def delete(self, session: UUID) -> None:
        with self.database.writing() as db:
            self.service.delete_sessions([session], db)
        self.known.pop(session, None)

    @rule(limit=st.integers(1, 3))
    def sweep(self, limit: int) -> None:
        expired = {key for key, known in self.known.items() if known.expires_at <= self.clock.now()}
        with self.database.writing() as db:
            swept = {each.id for each in self.service.lock_expired(db, limit)}
            self.service.delete_sessions(swept, db)
        assert swept <= expired
        assert len(swept) == min(limit, len(expired))
        for session in swept:
            del self.known[session]

    @rule(span=spans)
    def wait(self, span: timedelta) -> None:
        self.clock.turn(span)

    @invariant()
    def nothing_else_is_left(self) -> None:
        if not hasattr(self, "database"):
            return
        with self.database.reading() as db:
            rows = {row.id: row for row in db.scalars(select(Session))}
        assert rows.keys() == self.known.keys()
        for session, known in self.known.items():
            row = rows[session]
            assert (row.owner_id, row.last_model, row.version) == (known.owner, known.model, known.version)
            assert (row.expires_at, row.ends_at) == (known.expires_at, known.ends_at)
            assert (row.secret_hash is None) == (known.owner is not None)

    @invariant()
    def everyone_sees_their_own(self) -> None:
        if not hasattr(self, "database"):
            return
        now = self.clock.now()
        for user in filter(None, self.users):
            mine = {key for key, known in self.known.items() if known.owner == user and known.expires_at > now}
            with self.database.reading() as db:
                assert {row.id for row in self.service.list_sessions(user, db)} == mine

    def _proof(self, session: UUID, right: bool) -> bytes | None:
        known = self.known.get(session)
        credential = known.credential if known and right else Credential(session, "wrong")
        return credential.secret_hash

    def _expected(self, session: UUID, person: int, secret: bool) -> type[SwitchboardError] | None:
        known = self.known.get(session)
        if known is None:
            return SwitchboardError
        if known.owner is not None and known.owner != self.users[person]:
            return NotOwner
        if known.owner is None and not secret:
            return SessionInvalid
        return SessionExpired if known.expires_at <= self.clock.now() else None

    def _validate(self, db: Any, session: UUID, person: int, secret: bool) -> None:
        proof = self._proof(session, secret)
        self.service.validate_session(session, db, self.users[person], require_valid=True, secret_hash=proof)

    def _agree(self, session: UUID, expected: type[SwitchboardError] | None, act: Any) -> bool:
        """Do it; the service must say what the model says. Whether it was done."""
        try:
            with self.database.writing() as db:
                act(db)
        except SwitchboardError as error:
            assert expected is not None, f"{error!r} for {session}"  # noqa: PT017
            # Of a session that is gone only this much is sure: nobody gets in.
            assert type(error) is expected or (expected is SwitchboardError and error.status in (401, 403))  # noqa: PT017
            return False
        assert expected is None
        return True


TestRules = Rules.TestCase
TestRules.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
