"""Which characters go where. The one place with the rules about them.

PostgreSQL has no room for U+0000, and no encoding has any for half a character: a lone surrogate, which JSON can
spell, and which a script makes by cutting a text in the middle of an emoji. SQLite and Redis take some of that and
give it back later, to a reader that can't store it.
"""

import re
import unicodedata
from typing import Any

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF_ESCAPE = re.compile(rb"%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Turns the direction of the text around it, and of what stands beside it on a page (Unicode's Bidi_Control)."""
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")
"""The control characters (C0, C1), and what ends a line or a paragraph."""
_BLANK = {"Zs", "Zl", "Zp", "Cc", "Cf"}
"""Categories of characters that are not drawn: spaces, ends of lines, control and format characters."""
_UNDRAWN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Others that are not, which Unicode takes for letters, marks or symbols (Default_Ignorable_Code_Point, and Braille's
pattern without dots)."""


def blank(text: str) -> bool:
    """Whether nothing of the text can be seen."""
    return text.isspace() or all(unicodedata.category(each) in _BLANK or _UNDRAWN.match(each) for each in text)


def storable(text: str) -> str:
    """The text with U+FFFD for each U+0000 and each half of a character; two halves that belong together are one.

    What comes out can be encoded, and kept by every store.
    """
    try:
        text.encode()  # a search takes a hundred times as long, 600 us for the ids of a batch
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text


def storable_value(value: Any) -> Any:
    """A value with all its texts made storable, those in lists and the names in mappings included."""
    match value:
        case str():
            return storable(value)
        case dict():
            return {storable_value(name): storable_value(each) for name, each in value.items()}
        case list() | tuple():
            return [storable_value(each) for each in value]
    return value


def whole_characters(json: bytes) -> bytes:
    r"""The JSON text with `\ufffd` for each half of a character in its strings, which parsers refuse as no JSON."""
    # What `\u` stands behind counts only as long as no other backslash takes it; NUL is in no JSON text.
    escapes = json.replace(rb"\\", b"\0\0")
    if b"\0" in json or _HALF_ESCAPE.search(escapes) is None:
        return json
    return _HALF_ESCAPE.sub(rb"\\ufffd", escapes).replace(b"\0\0", rb"\\")


def one_line(text: str) -> str:
    """The text as a name: each run of spaces and control characters is one space, and nothing turns its direction."""
    return " ".join(_CONTROL.sub(" ", _DIRECTION.sub("", storable(text))).split())


def fits_one_line(text: str) -> bool:
    """Whether the text can be a name as it is: no control characters, none that turns its direction, all whole."""
    return not any(pattern.search(text) for pattern in (_CONTROL, _DIRECTION, _UNSTORABLE))
