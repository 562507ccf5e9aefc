"""How a reader joins a log's history with what is announced live: pure functions of positions.

A reader is a position: everything up to it has been told. History is read in pages, live events are announced
one by one, and either may overlap the other, arrive late, twice, or not at all.
"""

from enum import Enum

from core.conversation.event_log import Page
from core.conversation.position import Position

NOWHERE = Position("", 0)
"""Where a reader stands when there is no log yet."""


class Step(Enum):
    """What to do with an announced event."""

    TELL = "tell"
    """It is the next one."""
    DROP = "drop"
    """It has been told already."""
    READ = "read"
    """Something lies in between, or it is another log's: the log knows."""


def begin(cursor: Position | None, tip: Page) -> Position | None:
    """Where a reader begins that asks for what comes after `cursor`, or None when that can't be honoured.

    Without a cursor: before the live generation's first event, or at the top when nothing is live.
    """
    if cursor is None:
        return Position(tip.epoch, tip.top if tip.start is None else tip.start)
    return cursor if cursor.epoch == tip.epoch and cursor.offset <= tip.top else None


def broken(at: Position, page: Page) -> str | None:
    """Why a page read after `at` can't be told from there on, or None when it can."""
    if page.epoch != at.epoch and at != NOWHERE:
        return "log-lost"
    if page.top < at.offset:
        return "log-lost"
    missing = page.top > at.offset and (not page.events or page.events[0].offset != at.offset + 1)
    return "log-trimmed" if missing else None


def step(at: Position, announced: Position) -> Step:
    """What to do with an announced event."""
    if announced.epoch != at.epoch:
        return Step.READ
    if announced.offset <= at.offset:
        return Step.DROP
    return Step.TELL if announced.offset == at.offset + 1 else Step.READ
