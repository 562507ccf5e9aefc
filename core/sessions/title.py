"""The title of a session until its owner chooses one: the beginning of its first message. Pure."""

from core.text.characters import blank, one_line

MAX_TITLE = 60
"""Characters of a first message that become the title."""


def title_from(message: str) -> str | None:
    """The title that a first message gives its session; None when the message has no visible character."""
    line = one_line(message)
    line = line[next((at for at, character in enumerate(line) if not blank(character)), len(line)) :]
    return (line if len(line) <= MAX_TITLE else line[: MAX_TITLE - 1] + "…") or None
