"""What a reader of one answer's events has in front of them: pure, after docs/protocol.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ENDS = ("done", "stopped", "failed")


@dataclass
class Told:
    """The answer as it has been told so far. What can't follow from that fails."""

    text: str = ""
    thinking: str = ""
    end: str = ""

    def hear(self, kind: str, data: Mapping[str, Any]) -> None:
        """One event of the answer."""
        if kind == "model":
            return  # the session's: it may be switched at any time
        assert not self.end, f"{kind} after {self.end}"
        if kind == "delta":
            assert data["at"] == len(self.text), f"{data} does not follow {self.text!r}"
            self.text += data["text"]
        elif kind == "thinking":
            assert data["at"] == len(self.thinking) or (data["at"] == 0 and not self.text), f"{data} after {self}"
            self.thinking = self.thinking[: data["at"]] + data["text"]
        elif kind in ("resumed", "fallback", "handover"):
            assert data["thinking"] == (len(self.thinking) if self.text else 0), f"{data} after {self}"
            self.thinking = self.thinking[: data["thinking"]]
        elif kind in ENDS:
            self.end = kind
            assert data["length"] == len(self.text)
