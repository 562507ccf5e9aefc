"""What the transports of `ai` and `@ai-sdk/workflow` send, and what of it is meant."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, StringConstraints

from core.errors import InvalidBody
from core.generation.service import check_size
from core.text.characters import blank, storable
from web.schemas.requests import Body, ModelName

MAX_UI_CHAT = 1024 * 1024
"""Bytes. The clients send the whole conversation with each question, though only its last message is read."""
ClientId = Annotated[str, StringConstraints(max_length=200)]
"""A client's own id of a chat or a message."""


class UIMessage(BaseModel):
    """A message as the clients keep it. Of all but the last only the id is read."""

    model_config = ConfigDict(extra="ignore", strict=True)

    id: str | None = None
    role: str
    parts: Annotated[list[dict[str, Any]], FailFast()] = Field(default_factory=list)


class UIChat(Body):
    """POST /api/chat. Unknown fields are ignored: applications add their own."""

    model_config = ConfigDict(extra="ignore", strict=True)
    replaces_surrogates: ClassVar[bool] = True
    limit: ClassVar[int] = MAX_UI_CHAT
    media_types: ClassVar[tuple[str, ...]] = ("application/json", "text/plain")
    """`WorkflowChatTransport` names no type, and so browsers send text/plain. Requests of other sites' pages are
    refused by what the browser says of them (web/middleware/csrf.py), not by their type."""

    id: ClientId | None = None
    """The chat: a session's id. Any other means the session of the request's cookie or header."""
    messages: Annotated[list[UIMessage], FailFast()] = Field(default_factory=list)
    """The conversation as the client has it; the last is what is asked."""
    message: UIMessage | None = None
    """The last message alone, in place of `messages`."""
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    messageId: ClientId | None = None  # noqa: N815
    """With `submit-message` the message of which the last one is a new version; with `regenerate-message` the answer
    that is to be written again, by default the last."""
    model: ModelName | None = None

    def asked(self) -> tuple[str, Sequence[str | None]]:
        """The text of the message that is asked, and the client's ids of those before it, oldest first. Raises
        MessageTooLarge or InvalidBody."""
        if self.message is not None:
            return _text(self.message, "message"), []
        if not self.messages:
            raise InvalidBody(
                "messages: at least one is needed, the last of which is what is asked.", field="messages"
            )
        field = f"messages.{len(self.messages) - 1}"
        return _text(self.messages[-1], field), [message.id for message in self.messages[:-1]]


def _text(message: UIMessage, field: str) -> str:
    """The message's text. Raises MessageTooLarge, or InvalidBody for what is not asked by a person in words."""
    if message.role != "user":
        raise InvalidBody(f"{field}.role: the last message must be the user's.", field=f"{field}.role")
    for number, part in enumerate(message.parts):
        place = f"{field}.parts.{number}"
        if part.get("type") != "text":
            raise InvalidBody(f"{place}: only parts of the type 'text' are taken, no files.", field=place)
        if not isinstance(part.get("text"), str):
            raise InvalidBody(f"{place}.text: a string is needed.", field=f"{place}.text")
    text = "\n".join(part["text"] for part in message.parts)
    check_size(text, field)
    if blank(text):
        raise InvalidBody(f"{field}.parts: the message is empty.", field=f"{field}.parts")
    return storable(text)
