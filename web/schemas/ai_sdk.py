"""The JSON of the AI SDK's UI messages, as far as it is spoken here."""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, RootModel


class UIMessageChunk(BaseModel):
    """A chunk of a UI message stream. The last event is `[DONE]`, which is none. Without a `finish` before it the
    stream is broken, and its client comes back."""

    model_config = ConfigDict(extra="allow")

    type: str


class UIMessagePart(BaseModel):
    """A part of a message: `text`, `reasoning`, or `step-start`, which has no text."""

    model_config = ConfigDict(extra="allow")

    type: str


class UIMessageOfOurs(BaseModel):
    """A message as the AI SDK's clients keep it."""

    id: UUID
    role: Literal["user", "assistant"]
    parts: list[UIMessagePart]
    metadata: dict[str, Any]


class UIMessages(RootModel[list[UIMessageOfOurs]]):
    """A page of a conversation, oldest message first, without the answer that is being written."""
