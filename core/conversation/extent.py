"""Where the events of one answer lie in its session's log, also after the answer has ended."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from core.conversation.damage import Damaged, number, pass_over, unless_damaged
from core.conversation.keys import keys
from core.conversation.position import Position
from core.stores.redis import Redis

PAGE_SIZE = 500
"""Events looked through at once."""
MAX_SEARCHED = 12_000
"""Events looked through for one that has ended: more than a log keeps."""
ENDS = ("done", "stopped", "failed")

Entry = tuple[str, Any]


@dataclass(frozen=True)
class Extent:
    """The answer's part of the log."""

    before: Position
    """The place just before its first event."""
    end: int | None
    """The offset of its last event. None: it has not ended."""
    whole: bool
    """Whether the log has begun with it. If not, Redis has lost it on the way and it was begun again, so that offsets
    which were told before mean something else now."""


class Extents:
    """Finds them. Raises Unavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def find(self, session_id: UUID, generation_id: UUID) -> Extent | None:
        """The answer's; None when the log has none of it, or not its beginning."""
        at = keys(session_id)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(at.meta, ["epoch", "offset", "start", "generation"])
            pipe.xrevrange(at.log, count=PAGE_SIZE)
            known, entries = pipe.execute_each()
        epoch, offset, start, live = unless_damaged(known, (None,) * 4, session_id, "meta")
        entries = unless_damaged(entries, [], session_id, "log")
        try:
            top, before = Position.of(epoch, offset), number(start)
        except Damaged as kind:
            pass_over(session_id, "meta", kind)
            return None
        if top is None:
            return None
        if before is not None and live == str(generation_id):
            return self._live(session_id, Position(top.epoch, before))
        return self._ended(session_id, generation_id, top.epoch, entries)

    def _live(self, session_id: UUID, before: Position) -> Extent | None:
        """Of a log that was begun again, the answer is the first thing, and its first event no `queued`."""
        if before.offset > 0:
            return Extent(before, None, whole=True)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.xrange(keys(session_id).log, count=1)
            (found,) = pipe.execute_each()
        first = unless_damaged(found, [], session_id, "log")
        return Extent(before, None, whole=bool(first) and first[0][1].get("type") == "queued")

    def _ended(self, session_id: UUID, generation_id: UUID, epoch: str, entries: list[Entry]) -> Extent | None:
        """Look backwards, from the newest events, for its end and then for its beginning."""
        own = f'{{"generation_id":"{generation_id}"'
        end: int | None = None
        first: tuple[int, str] | None = None
        searched = 0
        while entries and searched < MAX_SEARCHED:
            searched += len(entries)
            for entry, fields in entries:
                at = int(entry.partition("-")[0])
                kind, data = fields.get("type", ""), fields.get("data", "")
                if data.startswith(own):
                    end = at if end is None and kind in ENDS else end
                    first = (at, kind)
                elif first is not None and kind in ENDS:
                    return _extent(epoch, first, end)  # another answer's end comes before its beginning
                if at == 1:
                    return _extent(epoch, first, end)
            entries = self._older(session_id, epoch, entries[-1][0])
        return None

    def _older(self, session_id: UUID, epoch: str, than: str) -> list[Entry]:
        at = keys(session_id)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hget(at.meta, "epoch")
            pipe.xrevrange(at.log, max=f"({than}", count=PAGE_SIZE)
            known, entries = pipe.execute_each()
        if known != epoch:
            return []  # another log, since the last look
        older: list[Entry] = unless_damaged(entries, [], session_id, "log")
        return older


def _extent(epoch: str, first: tuple[int, str] | None, end: int | None) -> Extent | None:
    if first is None or end is None:
        return None
    at, kind = first
    return Extent(Position(epoch, at - 1), end, whole=kind == "queued")
