"""Conditions on many ids at once."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, any_, bindparam
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.orm import Session as DatabaseSession


def among(
    column: InstrumentedAttribute[Any], ids: Collection[UUID], db_session: DatabaseSession
) -> ColumnElement[bool]:
    """Whether the column is one of the ids.

    On PostgreSQL they are one parameter, an array: with one for each, as `in_` has it, the driver takes longer to
    read the statement than the server to carry it out.
    """
    if db_session.get_bind().dialect.name != "postgresql":
        return column.in_(ids)
    return column == any_(bindparam(None, list(ids), type_=ARRAY(Uuid)))
