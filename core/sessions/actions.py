"""What is done to sessions: each method is one transaction, and what follows its commit.

After the commit come the event to the session's readers, the removals from Redis, the revocations and the audit log.
All methods raise Unavailable when the database is away.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session as DatabaseSession

from core.conversation.event_log import EventLog, MovedOn
from core.conversation.finished_messages import UnknownMessage
from core.conversation.guest_settings import GuestSettings
from core.conversation.removals import Removals
from core.conversation.session_settings import SessionSettings
from core.conversation.transcript import Transcript
from core.conversation.user_events import UserEvents
from core.errors import GenerationInProgress, NoSuchMessage, SessionInvalid, SwitchboardError, Unavailable
from core.messaging.revocations import Revocations
from core.operations.audit import Audit, Kind
from core.sessions.claim import Claims
from core.sessions.deletion import Deletion
from core.sessions.queries import SessionQueries
from core.sessions.search import Search
from core.sessions.service import Ending, NewSession, SessionService
from core.stores.database import Database
from core.stores.tables import IS_LIVE, Generation, Session

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Switch:
    """A switch of a session's model, at its owner's wish or, for an anonymous one, its holder's."""

    session_id: UUID
    model: str
    owner_id: UUID | None
    version: int | None
    """The session's, or None when any will do."""
    command_id: UUID
    """By which its repeat is recognised."""
    live: bool = False
    """Whether the answer that is being written is carried on by the model."""


class LiveAnswers(Protocol):
    """The answers that are being written, as far as a switch is concerned."""

    def want_handover(self, session_id: UUID, model: str, db_session: DatabaseSession) -> Callable[[], None] | None:
        """Have the session's live answer carried on by the model, in the caller's transaction; what is to be done
        after its commit, or None when there is no answer of another model."""
        ...


@dataclass(frozen=True)
class SessionActions:
    """Carries them out. Sessions that are passed in have been validated by the caller."""

    _database: Database
    sessions: SessionService
    claims: Claims
    deletion: Deletion
    log: EventLog
    queries: SessionQueries
    guest_settings: GuestSettings
    search: Search
    user_events: UserEvents
    removals: Removals
    revocations: Revocations
    audit: Audit
    answers: LiveAnswers
    transcript: Transcript

    def create(self, wanted: Sequence[NewSession]) -> list[Session | SwitchboardError]:
        """Create sessions, and return for each, in their order, what became of it. Safe to repeat with the same ids.

        That is its row, or UnknownModel, TooManySessions, SessionInvalid or LoginRequired. Raises ValueError or
        TypeError, and creates none, when one is what no session can be.
        """
        with self._database.writing() as db:
            created = self.sessions.create_sessions(wanted, db)
        for outcome in created:
            if isinstance(outcome, Session):
                self.user_events.publish(outcome.owner_id, "created", outcome.id, model=outcome.last_model)
        return created

    def refresh(self, session: Session) -> Session:
        """Extend the session, as activity does, and its event log with it.

        Raises SessionInvalid, SessionExpired or NotOwner.
        """
        with self._database.writing() as db:
            self.sessions.lock_held(session, db)
            self.sessions.extend_session(session.id, db)
            extended = db.get_one(Session, session.id)
        self.log.touch(extended.id, extended.expires_at)
        return extended

    def switch_models(self, switches: Sequence[Switch]) -> list[Session | SwitchboardError]:
        """Switch sessions' models, publish that to their readers, and return for each, in their order, what became of
        it. Safe to repeat with the same `command_id`.

        That is the session as this switch has left it, or UnknownModel, NotOwner, SessionInvalid, SessionExpired or
        VersionConflict.
        """
        outcomes: dict[UUID, Session | SwitchboardError] = {}
        handed_over: list[Callable[[], None]] = []
        with self._database.writing() as db:
            # By session, so that two transactions never wait for each other; those of one session in their order.
            for switch in sorted(switches, key=lambda each: each.session_id):
                outcome = outcomes[switch.command_id] = self._switch(switch, db)
                if switch.live and isinstance(outcome, Session):
                    told = self.answers.want_handover(switch.session_id, switch.model, db)
                    handed_over += [told] if told else []
        for outcome in outcomes.values():
            if isinstance(outcome, Session):
                self._publish_model(outcome)
        for tell in handed_over:
            tell()
        return [outcomes[switch.command_id] for switch in switches]

    def _switch(self, switch: Switch, db: DatabaseSession) -> Session | SwitchboardError:
        try:
            session = self.sessions.switch_model(
                switch.session_id,
                switch.model,
                db,
                switch.owner_id,
                version=switch.version,
                command_id=switch.command_id,
            )
        except SwitchboardError as error:
            return error
        db.expunge(session)  # it stays as it is now, whatever the next switch does
        return session

    def _publish_model(self, session: Session) -> None:
        try:
            switched = {"model": session.last_model, "version": session.version}
            self.user_events.publish(session.owner_id, "model", session.id, **switched)
            self.log.append(session.id, "model", switched, expires_at=session.expires_at)
            self.removals.remove_if_gone(session)
        except Unavailable as error:
            # The row is the truth, and has been switched: this is no failure of the command.
            logger.warning("a switch of the model was not published: %s", error.reason)

    def change_settings(self, session: Session, changes: Mapping[str, Any]) -> SessionSettings:
        """Set a session's `title`, `system_prompt` or `temperature`, those that are named; None: as if it had never
        been set. All of them as they are then.

        Raises SessionInvalid or SessionExpired when the session is gone, and SessionInvalid when a guest's has been
        claimed meanwhile.
        """
        if session.anonymous:
            return self._change_guest_settings(session, changes)
        with self._database.writing() as db:
            self.sessions.lock_living(session.id, db)
            changed = self.sessions.change_settings(session.id, changes, db)
            if "title" in changes:
                self.search.index_title(changed, db)
        if "title" in changes:
            self.user_events.publish(changed.owner_id, "changed", changed.id, title=changed.title)
        return SessionSettings.of(changed)

    def set_client_metadata(self, session: Session, metadata: Mapping[str, str]) -> Session:
        """Set what a client notes of an owned session, in place of what it had noted; the session as it is then.

        Raises SessionInvalid or SessionExpired when the session is gone.
        """
        with self._database.writing() as db:
            self.sessions.lock_living(session.id, db)
            return self.sessions.change_settings(session.id, {"client_metadata": dict(metadata) or None}, db)

    def mark_all_read(self, session_id: UUID) -> None:
        """All answers of a session that have ended by now have been read, if it is still there."""
        with self._database.writing_once() as db:
            owner_id = self.sessions.mark_all_read(session_id, db)
        self.user_events.publish(owner_id, "read", session_id)

    def mark_read(self, session: Session, until: datetime) -> None:
        """An owned session's answers that have ended until then have been read."""
        with self._database.writing_once() as db:
            news = self.sessions.mark_read(session.id, until, db)
        if news:
            self.user_events.publish(session.owner_id, "read", session.id)

    def _change_guest_settings(self, session: Session, changes: Mapping[str, Any]) -> SessionSettings:
        changed = self.guest_settings.change(session.id, changes, session.expires_at)
        if self.removals.remove_if_gone(session):
            with self._database.reading() as db:
                self.sessions.validate_session(session.id, db, require_valid=True, secret_hash=session.secret_hash)
        return changed

    def settings(self, session: Session) -> SessionSettings:
        """What its holder has set for a session that has just been validated."""
        return self.guest_settings.read(session.id) if session.anonymous else SessionSettings.of(session)

    def branch(self, session: Session, message_id: UUID) -> UUID:
        """Make the branch through this message the current one: that of its newest descendant, with which it ends.
        Readers are told. Returns the message that it ends with.

        Raises NoSuchMessage, GenerationInProgress while an answer is written, which is on the current branch,
        SessionInvalid or NotOwner.
        """
        try:
            if session.anonymous:
                return self._branch_anonymous(session, message_id)
            return self._branch_owned(session, message_id)
        except UnknownMessage:
            raise NoSuchMessage("message_id: this session has no message with this id.", field="message_id") from None
        except MovedOn:
            raise GenerationInProgress from None

    def _branch_owned(self, session: Session, message_id: UUID) -> UUID:
        with self._database.writing() as db:
            self._require_quiet(session, db)
            leaf, newest = self.transcript.newest_below(session.id, message_id, db)
            self.sessions.turn_to(session.id, leaf, newest, db)
        try:
            self.log.append(session.id, "branch", {"leaf": str(leaf)}, expires_at=session.expires_at)
            self.removals.remove_if_gone(session)
        except Unavailable as error:
            logger.warning("a turn to another branch was not published: %s", error.reason)
        return leaf

    def _branch_anonymous(self, session: Session, message_id: UUID) -> UUID:
        with self._database.writing() as db:
            self._require_quiet(session, db)
        leaf, newest = self.transcript.anonymous_newest_below(session.id, message_id)
        branch = {"leaf": str(leaf)}
        self.log.turn_to(session.id, "branch", branch, leaf, newest, expires_at=session.expires_at)
        if self.removals.remove_if_gone(session):
            raise SessionInvalid("This session has just been claimed or deleted.")
        return leaf

    def _require_quiet(self, session: Session, db: DatabaseSession) -> None:
        """Lock the session's row, and raise GenerationInProgress while it has a live generation."""
        if not self.sessions.lock_held(session, db):
            raise SessionInvalid
        live = select(Generation.id).where(Generation.session_id == session.id, IS_LIVE)
        if db.scalar(live) is not None:
            raise GenerationInProgress

    def claim(self, session: Session, user_id: UUID) -> Session:
        """Make an anonymous session the user's; one that is the user's already stays as it is.

        Raises GenerationInProgress while an answer is being written, SessionInvalid or NotOwner when another
        claimant was faster, SessionExpired, TooManySessions or LoginRequired.
        """
        if session.owner_id == user_id:
            return session
        claimed, settings, removal = self.claims.claim(session, user_id)
        # What was opened with the secret ends before the new owner can say a word.
        self.revocations.announce(claimed.id)
        claimed = self._catch_up(claimed, settings)
        self.removals.carry_out(removal)
        self.user_events.publish(
            user_id, "created", claimed.id, model=self.sessions.model_of(claimed), title=claimed.title
        )
        self.audit.record(Kind.SESSION_CLAIMED, user_id=user_id, session_id=claimed.id)
        return claimed

    def _catch_up(self, claimed: Session, known: SessionSettings) -> Session:
        """Keep what was set while the claim was under way: whoever sets later finds the session claimed."""
        try:
            latest = asdict(self.guest_settings.read(claimed.id))
        except Unavailable:
            return claimed
        changes = {name: value for name, value in latest.items() if value not in (None, getattr(known, name))}
        if not changes:
            return claimed
        with self._database.writing() as db:
            changed = self.sessions.change_settings(claimed.id, changes, db)
            self.search.index_title(changed, db)
        return changed

    def end(self, session: Session) -> None:
        """Delete the session at its holder's request, with all that is stored about it; one that has ended already
        stays so.

        Raises NotOwner when it has been claimed meanwhile.
        """
        self.discard(session)
        if session.owner_id is not None:
            self.audit.record(Kind.SESSION_DELETED, user_id=session.owner_id, session_id=session.id)

    def discard(self, session: Session) -> None:
        """Delete a session whose holder has not been told of it. What `end` does, without an audit event."""
        with self._database.writing() as db:
            if not self.sessions.lock_held(session, db):
                return
            ending = Ending(session.id, session.owner_id, session.ephemeral)
            batch = self.deletion.delete_locked([ending], "deleted", db)
        self.removals.carry_out(batch)
