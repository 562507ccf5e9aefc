"""What a holder has set for one session: its title, its instructions for the models, the temperature.

An owned session's are columns of its row. A guest's are words, and in Redis only (guest_settings.py).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the web server's master reads the bounds below, and loads no database driver for them
    from core.stores import tables

MAX_TITLE = 200
"""Characters."""
MAX_SYSTEM_PROMPT = 8 * 1024
"""Characters, as JSON Schema counts them."""
MAX_TEMPERATURE = 2.0


@dataclass(frozen=True)
class SessionSettings:
    """Each is None where nothing has been set."""

    title: str | None = None
    system_prompt: str | None = None
    temperature: float | None = None

    @classmethod
    def of(cls, session: "tables.Session") -> "SessionSettings":
        """Those of an owned session."""
        return cls(session.title, session.system_prompt, session.temperature)


def is_title(value: Any) -> bool:
    """Whether a session can have this title."""
    return isinstance(value, str) and 0 < len(value) <= MAX_TITLE


def is_system_prompt(value: Any) -> bool:
    """Whether these can be a session's instructions."""
    return isinstance(value, str) and 0 < len(value) <= MAX_SYSTEM_PROMPT


def is_temperature(value: Any) -> bool:
    """Whether this can be a session's temperature. A bool is no number."""
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= MAX_TEMPERATURE


CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "title": is_title,
    "system_prompt": is_system_prompt,
    "temperature": is_temperature,
}
"""What each must be where it is set, whoever has written it."""
