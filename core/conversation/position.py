"""Places in a log, as clients name them and as producers count them: pure values."""

from typing import NamedTuple
from uuid import UUID

from core.conversation.damage import Damaged, number

TERMINAL_SEQ = 2**31
"""The sequence number of every generation's terminal event, so that the log takes only one."""


class Position(NamedTuple):
    """A place in a log; on the wire the cursor `<epoch>-<offset>`. A log that Redis lost begins in another epoch."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Position | None":
        """The position that a cursor names, or None when the text is not a cursor."""
        epoch, _, offset = text.partition("-")
        if not (epoch.isalnum() and epoch.isascii() and offset.isdecimal() and offset.isascii() and len(text) <= 40):
            return None
        return cls(epoch, int(offset))

    @classmethod
    def of(cls, epoch: str | None, offset: str | None) -> "Position | None":
        """The top of a log whose meta has these fields, or None when there is no log. Raises Damaged."""
        if epoch is None and offset is None:
            return None
        top = cls.parse(f"{epoch or ''}-{number(offset)}")
        if top is None:
            raise Damaged("no position")
        return top


class Producer(NamedTuple):
    """The writer of an event, and the event's place among those of the same attempt: the fencing token.

    The log refuses an earlier attempt than the latest it knows, and drops an event whose `seq` is not greater than
    the attempt's last one.
    """

    generation_id: UUID
    attempt: int
    seq: int

    @classmethod
    def queued(cls, generation_id: UUID, position: int) -> "Producer":
        """The scheduler, announcing a position in the queue. Sequence numbers grow as positions fall, so the log
        drops what says no more than the reader knows."""
        return cls(generation_id, 0, TERMINAL_SEQ - 1 - position)

    @classmethod
    def terminal(cls, generation_id: UUID, attempt: int) -> "Producer":
        """The attempt, with its last event."""
        return cls(generation_id, attempt, TERMINAL_SEQ)
