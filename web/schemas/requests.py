"""The JSON bodies that clients send, and how they are read."""

from typing import Annotated, Any, ClassVar, Literal, TypeVar
from uuid import UUID

from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError, from_json
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from core.conversation.session_settings import MAX_SYSTEM_PROMPT, MAX_TEMPERATURE, MAX_TITLE
from core.errors import InvalidBody
from core.text.characters import blank, fits_one_line, storable, whole_characters

MAX_BODY = 256 * 1024
"""Bytes of a message to chat: 32 KiB with every character escaped fit."""
SMALL_BODY = 16 * 1024
"""Bytes of every other body: the longest password and title with every character escaped fit."""
SETTINGS_BODY = 128 * 1024
"""Bytes of a change of a session's settings: the longest title and instructions with every character escaped fit."""
MAX_QUOTED_NAME = 100
"""Characters of a name that the client made which a refusal repeats."""


class Body(BaseModel):
    """Unknown fields and other types are refused, not guessed at."""

    model_config = ConfigDict(extra="forbid", strict=True)
    replaces_surrogates: ClassVar[bool] = False
    """Whether lone surrogates (half characters) are replaced, as in a message; names and secrets must be whole."""
    media_types: ClassVar[tuple[str, ...]] = ("application/json",)
    limit: ClassVar[int] = SMALL_BODY
    """Bytes; a longer body is refused unread (web/middleware/body_limits.py)."""


def _name(text: str) -> str:
    if not fits_one_line(text):
        raise PydanticCustomError("unprintable", "control characters are not allowed")
    return _visible(text)


def _visible(text: str) -> str:
    if blank(text):
        raise PydanticCustomError("blank", "nothing of it can be seen")
    return text


ModelName = Annotated[str, StringConstraints(min_length=1, max_length=64)]


AnyId = Annotated[UUID, Field(strict=False)]


class CreateSession(Body):
    """POST /session/create."""

    model: ModelName | None = None


class SwitchModel(Body):
    """POST /session/model and /config/models/switch."""

    model: ModelName
    live: bool = False
    """Whether an answer that is being written is carried on by the model."""


class OpenSession(Body):
    """POST /session/open."""

    session_id: AnyId


SystemPrompt = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_SYSTEM_PROMPT),
    AfterValidator(_visible),
    AfterValidator(storable),
]
Temperature = Annotated[float, Field(ge=0, le=MAX_TEMPERATURE, allow_inf_nan=False)]


class ChangeSession(Body):
    """PATCH /session: what is named is set, and null is as if it had never been. At least one of them."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})
    limit: ClassVar[int] = SETTINGS_BODY

    title: (
        Annotated[
            str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TITLE), AfterValidator(_name)
        ]
        | None
    ) = None
    system_prompt: SystemPrompt | None = None
    temperature: Temperature | None = None

    @model_validator(mode="after")
    def _names_something(self) -> "ChangeSession":
        if not self.model_fields_set:
            raise PydanticCustomError("nothing", "give at least one of title, system_prompt and temperature")
        return self

    def changes(self) -> dict[str, Any]:
        """What is named."""
        return self.model_dump(exclude_unset=True)


class Credentials(Body):
    """POST /auth/register and /auth/login."""

    email: str
    password: str


class ChangePassword(Body):
    """POST /auth/password."""

    current_password: str
    new_password: str
    end_other_logins: bool = True


class DeleteAccount(Body):
    """DELETE /auth/me. Accounts that have a password need it again."""

    password: str | None = None


class CreateKey(Body):
    """POST /auth/keys."""

    name: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(_name)
    ]


class Nothing(Body):
    """A body without fields."""


class ChatMessage(Body):
    """POST /chat and /chat/sse."""

    replaces_surrogates: ClassVar[bool] = True
    limit: ClassVar[int] = MAX_BODY

    message: Annotated[str, StringConstraints(pattern=r"\S"), AfterValidator(_visible), AfterValidator(storable)]
    model: ModelName | None = None
    parent: AnyId | None = None
    """The message that this one follows; null: the beginning. Absent: the end of the current branch."""
    while_busy: Literal["reject", "queue", "interrupt"] = "reject"
    """What becomes of the message while an answer is live: it is refused, waits for the end, or stops it."""


class EditWaiting(Body):
    """PATCH /session/queue/<generation_id>."""

    replaces_surrogates: ClassVar[bool] = True
    limit: ClassVar[int] = MAX_BODY

    message: Annotated[str, StringConstraints(pattern=r"\S"), AfterValidator(_visible), AfterValidator(storable)]


class Regenerate(Body):
    """POST /chat/regenerate."""

    message_id: AnyId | None = None
    model: ModelName | None = None


class GoOn(Body):
    """POST /chat/continue."""

    message_id: AnyId | None = None


class TurnTo(Body):
    """POST /session/branch."""

    message_id: AnyId


AnyBody = TypeVar("AnyBody", bound=Body)


def parse_body(body_type: type[AnyBody]) -> AnyBody:
    """Read the request's body. Raises UnsupportedMediaType (415), BadRequest (400) or InvalidBody (422).

    No body at all is the same as `{}`.
    """
    raw = request.get_data(cache=False)
    if body_type.replaces_surrogates:
        raw = _whole(raw)
    if raw and request.mimetype not in body_type.media_types:
        raise UnsupportedMediaType("Send the body as application/json.")
    _refuse_unknown(raw or b"{}", body_type)
    try:
        return body_type.model_validate_json(raw or b"{}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:MAX_QUOTED_NAME] for part in first["loc"])
        raise _invalid(first["type"], place, first["msg"]) from error


def _whole(raw: bytes) -> bytes:
    """The body without half characters, which take longer to look for than it takes to see that there are none."""
    try:
        from_json(raw)
    except ValueError:
        return whole_characters(raw)
    return raw


def _refuse_unknown(raw: bytes, body_type: type[Body]) -> None:
    """Raise BadRequest or InvalidBody when it is no JSON, InvalidBody for the first field that is unknown.

    Before the validation, which would make an error of each: 25,000 take half a second. And a misspelt field is both
    unknown and missing; the misspelling is what the caller needs to see.
    """
    try:
        parsed = from_json(raw)
    except ValueError as error:
        raise _unreadable(raw) from error
    if isinstance(parsed, dict) and body_type.model_config.get("extra") != "ignore":
        unknown = next((name for name in parsed if name not in body_type.model_fields), None)
        if unknown is not None:
            field = unknown[:MAX_QUOTED_NAME]
            raise InvalidBody(f"There is no field {field!r} here.", field=field)


def _unreadable(raw: bytes) -> Exception:
    if whole_characters(raw) != raw:
        return InvalidBody("The body holds half a character; \\ud800 to \\udfff come in pairs.")
    return BadRequest("The body is not valid JSON.")


def _invalid(kind: str, field: str, message: str) -> InvalidBody:
    if kind == "missing":
        return InvalidBody(f"The field {field!r} is missing.", field=field)
    if kind in ("string_pattern_mismatch", "blank"):
        return InvalidBody(f"The field {field!r} is empty.", field=field)
    if kind == "nothing":
        return InvalidBody(f"{message[0].upper()}{message[1:]}.")
    if not field:
        return InvalidBody("The body must be a JSON object.")
    return InvalidBody(f"{field}: {message}", field=field)
