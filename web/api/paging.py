"""Which page of a list is wanted: `limit` and `before`, newest first."""

from uuid import UUID

from flask import request

from core.errors import InvalidBody
from web.openapi.operation import Parameter


def limit_parameter(most: int, default: int) -> Parameter:
    """How many entries a page has."""
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Parameter("limit", "query", "How many at most.", schema)


def before_parameter(description: str) -> Parameter:
    """Where the page ends."""
    return Parameter("before", "query", description, {"type": "string", "format": "uuid"})


def limit(parameter: Parameter) -> int:
    """The request's `limit`. Raises InvalidBody."""
    text = request.args.get("limit", str(parameter.schema["default"]))
    most: int = parameter.schema["maximum"]
    # Python refuses to read numbers of thousands of digits.
    if not (text.isdecimal() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise InvalidBody(f"limit: a number from 1 to {most} is needed.", field="limit")
    return int(text)


def before(needed: str) -> UUID | None:
    """The request's `before`, if it has one. Raises InvalidBody, which says what is `needed`."""
    text = request.args.get("before")
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise InvalidBody(f"before: {needed}.", field="before") from None
