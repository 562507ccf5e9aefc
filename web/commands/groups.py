"""Commands that travel together: one goes out at once, and those that come while it is under way gather for the next.

What is paid for a message (its publication, its delivery, a transaction) is paid for all commands in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event as Flag
from threading import Lock

from broker.causes import BrokerAway
from core.messaging.replies import Reply
from web.streaming.hub import Waiter

MAX_GROUP = 100
"""Commands in one message."""
MAX_UNDER_WAY = 1
"""Groups that have not been answered, while which the next one gathers."""
MAX_HOLD = 0.01
"""Seconds after which it goes out all the same: a slow group holds up no other for longer."""
PUBLICATION_TIMEOUT = 5.0
"""Seconds that nothing takes: each try to publish has a deadline of its own."""


@dataclass(frozen=True)
class Command:
    """One command, and who waits for it."""

    pending: Reply
    args: Sequence[object]
    waiter: Waiter
    request_id: str | None = None
    """Of the request that it is for."""
    traceparent: str | None = None
    """The request's span."""


@dataclass
class Group:
    """Commands that leave with one message."""

    commands: list[Command] = field(default_factory=list)
    under_way: bool = False
    departs: Flag = field(default_factory=Flag)
    """Set when there is nothing more to wait for."""
    published: Flag = field(default_factory=Flag)
    """Set when the broker has the message, or does not take it."""

    def await_publication(self, waiter: Waiter) -> None:
        """Wait until the group is published. Raises Unavailable, as this member's waiter does, when it can't be."""
        self.published.wait(PUBLICATION_TIMEOUT)
        waiter.wait(0)


class Lane:
    """The groups of one kind of command. The first of a group's members publishes it for all."""

    def __init__(self, publish: Callable[[Sequence[Command]], None]) -> None:
        """`publish` raises Unavailable."""
        self._publish = publish
        self._lock = Lock()
        self._gathering: Group | None = None
        self._under_way = 0

    def send(self, command: Command) -> Group:
        """Send a command with its group, and return that; it is published at once or by another member. The command's
        waiter is told when it is not. Whoever has sent one calls `leave` when done with the waiting."""
        with self._lock:
            leads = self._gathering is None
            group = self._gathering = self._gathering or Group()
            group.commands.append(command)
            if self._under_way < MAX_UNDER_WAY or len(group.commands) == MAX_GROUP:
                self._gathering = None
                group.departs.set()
        if leads:
            self._lead(group)
        return group

    def leave(self, group: Group) -> None:
        """A member of the group waits no more, so it has been answered, or is slow: the next may go."""
        with self._lock:
            if not group.under_way:
                return
            group.under_way = False
            self._under_way -= 1
            if self._gathering is not None:
                self._gathering.departs.set()

    def _lead(self, group: Group) -> None:
        try:
            group.departs.wait(MAX_HOLD)
        finally:
            with self._lock:
                if self._gathering is group:
                    self._gathering = None
                group.under_way = True
                self._under_way += 1
            self._publish_for_all(group)

    def _publish_for_all(self, group: Group) -> None:
        away = True
        try:
            self._publish(group.commands)
            away = False
        finally:
            if away:
                for command in group.commands:
                    command.waiter.fail(BrokerAway())
                self.leave(group)
            group.published.set()
