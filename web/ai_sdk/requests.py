"""What the transports of `ai` and `@ai-sdk/workflow` send, and what of it is meant."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

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
    """A message as the clients keep it. Of all but the last only the id and the role are read."""

    model_config = ConfigDict(extra="ignore", strict=True)

    id: str | None = None
    role: str
    parts: Annotated[list[dict[str, Any]], FailFast()] = Field(default_factory=list)


class Asked(NamedTuple):
    """The message that is asked."""

    text: str
    message: UIMessage
    before: Sequence[UIMessage]
    """The client's messages before it, oldest first; none where it came alone."""


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
    """Without it, and without `messageId`, `messages` tell what is meant: where they end with a question that stands
    there already, another answer to it; where they are shorter than the conversation, another question."""
    messageId: ClientId | None = None  # noqa: N815
    """With `submit-message` the message of which the last one is a new version; with `regenerate-message` the answer
    that is to be written again, by default the last."""
    model: ModelName | None = None

    @property
    def tells_by_messages(self) -> bool:
        """Whether the conversation alone tells what is meant: all that `WorkflowChatTransport` sends by itself.
        `DefaultChatTransport` always names the trigger."""
        return self.message is None and not self.model_fields_set & {"trigger", "messageId"}

    @property
    def is_submission(self) -> bool:
        """Whether a message, or a new version of one, is to be taken."""
        return self.trigger == "submit-message" and not self.tells_by_messages

    def asked(self) -> Asked:
        """The message that is asked. Raises MessageTooLarge or InvalidBody."""
        if self.message is not None:
            return Asked(_text(self.message, "message"), self.message, [])
        if not self.messages:
            raise InvalidBody(
                "messages: at least one is needed, the last of which is what is asked.", field="messages"
            )
        *before, last = self.messages
        return Asked(_text(last, f"messages.{len(before)}"), last, before)


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
    check_size(text)
    if blank(text):
        raise InvalidBody(f"{field}.parts: the message is empty.", field=f"{field}.parts")
    return storable(text)
