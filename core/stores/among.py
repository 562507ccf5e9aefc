"""Conditions on many ids at once."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Text, Uuid, any_, bindparam, cast
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.orm import Session as DatabaseSession


def among(
    column: InstrumentedAttribute[Any], ids: Collection[UUID], db_session: DatabaseSession
) -> ColumnElement[bool]:
    """Whether the column is one of the ids.

    On PostgreSQL they are one parameter, the text of an array: with one for each, as `in_` has it, the driver takes
    longer to read the statement than the server to carry it out, and with an array to write each id.
    """
    if db_session.get_bind().dialect.name != "postgresql":
        return column.in_(ids)
    text = f"{{{','.join([each.hex for each in ids])}}}"
    return column == any_(cast(bindparam(None, text, type_=Text), ARRAY(Uuid)))
