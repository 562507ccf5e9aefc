"""What a front end is told of a message that will be answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from core.conversation.position import Position
from core.limits.status import LimitStatus
from core.stores.tables import GenerationState


@dataclass(frozen=True)
class Accepted:
    """A message that will be answered."""

    session_id: UUID
    generation_id: UUID
    position: int
    """How many generations wait before this one."""
    before: Position
    """The place in the log just before the generation's first event."""
    limit_statuses: Sequence[LimitStatus]
    """How its owner stands with the limits."""
    waits: bool = False
    """Whether it waits until the answer before it has ended; then `position` is that among those of its session."""
    to_wake: UUID | None = None
    """The generation that a worker is to be woken for: another one, where this one waits."""

    def describe(self) -> dict[str, Any]:
        """As the wire has it."""
        return {
            "session_id": str(self.session_id),
            "generation_id": str(self.generation_id),
            "state": "waiting" if self.waits else GenerationState.QUEUED,
            "position": self.position,
            "events": "/chat/sse",
        }
