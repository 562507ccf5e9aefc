"""The id of a request: its client's, or a new one. The answer has it, each line that is logged for the request in
whichever process, and the row of the answer that was asked for."""

import re

from uuid_utils.compat import uuid7

_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=-]{0,63}")
"""What goes into a header, a line and a column as it is, such as UUIDs, and the ids that nginx makes, or clouds."""


def new_request_id() -> str:
    """An id for a request that has brought none."""
    return str(uuid7())


def parse_request_id(text: object) -> str | None:
    """The id, if it is a sane one; None for anything else."""
    return text if isinstance(text, str) and _SANE.fullmatch(text) else None
