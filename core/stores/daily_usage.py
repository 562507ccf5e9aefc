"""What users' answers come to by day and model: added where they are counted (core/stores/tally.py), once each, in
the same transaction."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session as DatabaseSession

from core.stores.among import among
from core.stores.tables import DailyUsage, Generation, Session


class Place(NamedTuple):
    """Where an answer is added."""

    user_id: UUID
    day: date
    model: str


class Amount(NamedTuple):
    """What answers have come to."""

    answers: int
    prompt_tokens: int
    completion_tokens: int
    cost: int
    """Millionths of the currency."""


def amounts(answers: Sequence[Generation], owners: Mapping[UUID, UUID | None]) -> Mapping[Place, Amount]:
    """What these answers add, by place. `owners`: the users by their sessions; without one an answer adds nothing,
    nor does one that has cost no token."""
    found: dict[Place, Amount] = defaultdict(lambda: Amount(0, 0, 0, 0))
    for row in answers:
        owner, prompt, completion = owners.get(row.session_id), row.prompt_tokens or 0, row.completion_tokens or 0
        if owner is None or row.finished_at is None or not prompt + completion:
            continue
        place = Place(owner, row.finished_at.date(), row.answered_by or row.model)
        one = Amount(1, prompt, completion, row.cost or 0)
        found[place] = Amount(*map(sum, zip(found[place], one, strict=True)))
    return found


def add_usage(answers: Sequence[Generation], db_session: DatabaseSession) -> None:
    """Add what these answers come to, in the caller's transaction."""
    ids = {row.session_id for row in answers}
    owned = select(Session.id, Session.owner_id).where(among(Session.id, ids, db_session))
    owners = dict(db_session.execute(owned).all()) if ids else {}
    # In one order, so that no two that add wait for each other in a circle.
    found = sorted(amounts(answers, owners).items())
    if found:
        rows = [{**place._asdict(), **amount._asdict()} for place, amount in found]
        db_session.execute(_ADD[db_session.get_bind().dialect.name], rows)


def _addition(dialect: Any) -> postgresql.Insert | sqlite.Insert:
    """The statement that adds to a row, or begins it."""
    table = DailyUsage.__table__.c
    new: postgresql.Insert | sqlite.Insert = dialect.insert(DailyUsage.__table__)
    sums = {name: table[name] + new.excluded[name] for name in Amount._fields}
    return new.on_conflict_do_update(index_elements=Place._fields, set_=sums)


_ADD = {"sqlite": _addition(sqlite), "postgresql": _addition(postgresql)}
