"""The system's processes as their supervisor sees them: what is up, what dies again and again, what that means."""

import contextlib
import os
from dataclasses import dataclass

FLAPPING_RESTARTS = 3
"""Deaths, one soon after the other, from which on a process is said to die again and again."""

CONSEQUENCES = {
    "valkey": "without it nobody can ask, log in or create a session",
    "web": "without it no request is served",
    "worker": "without it no session is created, switched or swept",
    "chat": "without it no question is answered",
    "beat": "without it expired sessions are not swept and invariants not checked; lost answers are still taken over",
    "flower": "without it tasks and workers can't be watched; nothing else needs it",
    "model": "without it the local models don't answer",
}
"""What it means that a process is away, for the names of the Procfile and for Valkey."""


@dataclass(frozen=True)
class ChildState:
    """One process."""

    pid: int | None
    """Its process id, or None while it is not running."""
    deaths: int
    """How often it has died since it last lived for a while."""

    @property
    def trouble(self) -> str | None:
        """What is wrong with it, in a few words, or None."""
        if self.deaths >= FLAPPING_RESTARTS:
            return f"dies again and again ({self.deaths} times so far)"
        return None if self.pid is not None and _exists(self.pid) else "is down"


def consequence(name: str) -> str:
    """What it means that this process is away."""
    return CONSEQUENCES.get(name, "what it does is not done")


def _exists(pid: int) -> bool:
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
