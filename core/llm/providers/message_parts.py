"""The text and the thinking in what chat completions say, under all the names that servers have for them: pure."""

from collections.abc import Mapping
from typing import Any

BESIDE = ("reasoning_content", "reasoning", "thinking", "reasoning_text", "thinking_blocks", "reasoning_details")
"""Where thinking stands beside the content: the same words may be under several of these."""
INSIDE = ("text", "thinking", "content", "summary")
"""Where a block of thinking has its words."""
MAX_DEPTH = 6
"""Blocks in one another that are looked at."""


def content(value: Any) -> tuple[str, str]:
    """The text and the thinking in a message's content: a text, or blocks of several types.

    Raises TypeError for what is neither.
    """
    if value is None or isinstance(value, str):
        return value or "", ""
    text, thinking = "", ""
    if not isinstance(value, list):
        raise TypeError("neither a text nor blocks")
    for block in value:
        match block:
            case {"type": "thinking" | "reasoning"}:
                thinking += _words(block)
            case {"text": str(words)}:
                text += words
            case None | {"type": str()}:
                pass
            case _:
                raise TypeError("not a block")
    return text, thinking


def refusal(said: Mapping[str, Any]) -> str:
    """The words with which the model declines to answer. Raises TypeError for what is no text."""
    words = said.get("refusal") or ""
    if not isinstance(words, str):
        raise TypeError("not a text")
    return words


def reasoning(said: Mapping[str, Any]) -> str:
    """The thinking beside the content."""
    more = said.get("provider_specific_fields")
    for place in (said, more) if isinstance(more, dict) else (said,):
        for name in BESIDE:
            if (value := place.get(name)) and (words := _words(value)):
                return words
    return ""


def is_thought(said: Mapping[str, Any]) -> bool:
    """Whether Gemini says that the content is thinking."""
    match said.get("extra_content"):
        case {"google": {"thought": True}}:
            return True
    return False


def _words(value: Any, depth: int = 0) -> str:
    """Of a text, of a block, or of blocks in one another."""
    match value:
        case str():
            return value
        case list() if depth < MAX_DEPTH:
            return "".join(_words(each, depth + 1) for each in value)
        case dict() if depth < MAX_DEPTH:
            return next(filter(None, (_words(value.get(name), depth + 1) for name in INSIDE)), "")
    return ""
