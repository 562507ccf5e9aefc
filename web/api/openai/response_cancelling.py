"""Cancelling a response."""

import time

from core.errors import NothingToStop
from core.generation.answers import Answer
from web.context import context

PATIENCE = 3.0
"""Seconds to wait for the end of an answer that is to stop. Its worker looks four times a second."""
LOOK_INTERVAL = 0.1
"""Seconds."""


def cancel_answer(answer: Answer) -> Answer:
    """Have a user's answer stop, and return it as it is then: ended, but where its worker takes longer than that.
    One that has been stopped already stays so.

    Raises NothingToStop for one that has ended otherwise, UnknownResponse or Unavailable.
    """
    services = context().services
    assert answer.session.owner_id is not None
    if answer.is_live:
        services.generations.stop(answer.session, answer.id)
    deadline = time.monotonic() + PATIENCE
    while answer.is_live and time.monotonic() < deadline:
        time.sleep(LOOK_INTERVAL)
        answer = services.answers.find(answer.id, answer.session.owner_id)
    if not answer.is_live and answer.state != "stopped":
        raise NothingToStop
    return answer
