r"""Texts without the quoting and the forms of Unicode that errors put them in: pure.

Errors quote a conversation as JSON in JSON, Python's `repr` of bytes, a part of an address, HTML, and with accents in
another form of Unicode. Two texts are compared after this was done to both.
"""

import html
import re
import unicodedata

from core.text.characters import storable

ROUNDS = 4
"""Kinds of quoting in one another that are undone. Backslashes in any number count as one."""

_CODE = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}|U([0-9a-fA-F]{8}))")
_BYTES = re.compile(r"(?:\\+x[0-9a-fA-F]{2}|\\+[0-3][0-7]{2})+|(?:%[0-9a-fA-F]{2})+")
_BYTE = re.compile(r"[x%]([0-9a-fA-F]{2})|\\([0-3][0-7]{2})")
_BLANK = re.compile(r"\\+[nrtfvb]")
_BACKSLASHES = re.compile(r"\\+")


def normalized(text: str) -> str:
    """The text without quoting, in Unicode's form NFKC. The time it takes grows with its length only."""
    for _ in range(ROUNDS):
        before = text
        if "\\" in text:
            text = _CODE.sub(_character, text)
        if "\\" in text or "%" in text:
            text = _BYTES.sub(_of_bytes, text)
        if "\\" in text:
            text = _BACKSLASHES.sub("", _BLANK.sub(" ", text))
        if "&" in text:
            text = html.unescape(text)
        if text == before:
            break
    return unicodedata.normalize("NFKC", storable(text))


def _character(escape: re.Match[str]) -> str:
    code = int(escape[1] or escape[2] or escape[3], 16)
    return chr(code) if code <= 0x10FFFF else " "


def _of_bytes(escapes: re.Match[str]) -> str:
    """UTF-8, also where an excerpt has cut it; what is none of it is Latin-1."""
    codes = [
        int(hexadecimal, 16) if hexadecimal else int(octal, 8) for hexadecimal, octal in _BYTE.findall(escapes[0])
    ]
    return bytes(codes).decode(errors="ignore") or bytes(codes).decode("latin-1")
