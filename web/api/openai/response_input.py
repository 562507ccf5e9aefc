"""The question in a request's `input`: a pure function."""

from typing import Any, NamedTuple

from core.errors import InvalidBody
from core.text.characters import blank, storable
from web.schemas.openai_responses import MAX_ITEMS, MAX_PARTS

TEXT_TYPES = ("input_text", "output_text", "text")
INSTRUCTING = ("system", "developer")
BETWEEN = "\n\n"
"""What stands between the texts of several items, or parts."""


class Question(NamedTuple):
    """What is asked, and how it is to be answered."""

    text: str
    instructions: str
    """Those of system and developer messages; empty without any."""


def question_of(sent: str | list[Any]) -> Question:
    """The question, of a text or of a list of messages. Raises InvalidBody, which names what can't be taken."""
    if isinstance(sent, str):
        return _checked(Question(storable(sent), ""))
    if len(sent) > MAX_ITEMS:
        raise _invalid("input", f"{len(sent)} items are too many; at most {MAX_ITEMS} are taken.")
    texts: dict[str, list[str]] = {"user": [], "instructing": []}
    for at, item in enumerate(sent):
        role, text = _read(item, f"input.{at}")
        texts["instructing" if role in INSTRUCTING else role].append(text)
    return _checked(Question(BETWEEN.join(texts["user"]), BETWEEN.join(texts["instructing"])))


def _read(item: Any, place: str) -> tuple[str, str]:
    if not isinstance(item, dict):
        raise _invalid(place, "a message is needed, an object with role and content.")
    kind = item.get("type", "message")
    if kind != "message":
        raise _invalid(f"{place}.type", "only messages are supported here; this has to be 'message'.")
    role = item.get("role")
    if role == "assistant":
        raise _invalid(
            f"{place}.role",
            "answers are not taken from outside; go on with previous_response_id or conversation, which have them.",
        )
    if role not in ("user", *INSTRUCTING):
        raise _invalid(f"{place}.role", "'user', 'system' or 'developer' is needed.")
    content = item.get("content")
    if isinstance(content, str):
        return role, storable(content)
    if not isinstance(content, list):
        raise _invalid(f"{place}.content", "a text, or a list of parts of text, is needed.")
    if len(content) > MAX_PARTS:
        raise _invalid(f"{place}.content", f"{len(content)} parts are too many; at most {MAX_PARTS} are taken.")
    return role, BETWEEN.join(_part(part, f"{place}.content.{at}") for at, part in enumerate(content))


def _part(part: Any, place: str) -> str:
    if not isinstance(part, dict):
        raise _invalid(place, "a part is needed, an object with type and text.")
    if part.get("type") not in TEXT_TYPES:
        raise _invalid(f"{place}.type", "only text is supported here; this has to be 'input_text'.")
    text = part.get("text")
    if not isinstance(text, str):
        raise _invalid(f"{place}.text", "a text is needed.")
    return storable(text)


def _checked(question: Question) -> Question:
    if blank(question.text):
        raise _invalid("input", "it has no words of a user.")
    return question


def _invalid(field: str, detail: str) -> InvalidBody:
    return InvalidBody(f"{field}: {detail}", field=field)
