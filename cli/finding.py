"""What one of the doctor's checks has found."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """`remedy` says what to do, and is empty when the part works."""

    part: str
    detail: str
    remedy: str = ""
    doubtful: bool = False
    """Whether the part may work all the same."""

    @property
    def fails(self) -> bool:
        """Whether the part certainly does not work."""
        return bool(self.remedy) and not self.doubtful

    @property
    def mark(self) -> Literal["✗", "!", "✓"]:
        """How it is marked at the terminal."""
        return "✗" if self.fails else "!" if self.remedy else "✓"
