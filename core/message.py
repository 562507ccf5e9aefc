"""One turn of a conversation, as it is stored and as the wire has it."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from core import models
from core.clock import rfc3339
from core.plain_html import plain_html

MessageState = Literal["complete", "streaming", "stopped", "failed"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    id: str
    role: Literal["user", "assistant"]
    text: str
    model: str | None
    """Who answered; None for a person's message."""
    state: MessageState
    created_at: str
    html: str | None = None
    """The text's Markdown, rendered when the answer ended. None: not rendered, and never will be."""

    def dump(self) -> str:
        """The stored form."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def load(cls, stored: str) -> "Message":
        """The reverse of `dump`."""
        return cls(**json.loads(stored))

    @classmethod
    def of(cls, row: models.Message) -> "Message":
        """The message in a row."""
        values = (str(row.id), row.role, row.text, row.model, row.state, rfc3339(row.created_at), row.html)
        return cls(*values)  # type: ignore[arg-type]

    def describe(self) -> dict[str, Any]:
        """As the wire has it: every finished answer has HTML, if only its text as it stands."""
        html = self.html
        if html is None and self.role == "assistant" and self.state != "streaming":
            html = plain_html(self.text)
        return {**vars(self), "html": html}
