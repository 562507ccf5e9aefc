"""The JSON of the AI SDK's UI messages, as far as it is spoken here."""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel


class UIMessageEvent(BaseModel):
    """An event of a UI message stream: a chunk. Comments in between keep the connection alive.

    The last event is `[DONE]`, which is no chunk. Without the chunk `finish` before it the stream is broken.
    """

    data: str = Field(json_schema_extra={"contentMediaType": "application/json"}, examples=['{"type":"finish"}'])


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
