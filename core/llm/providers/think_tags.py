"""Takes thinking that a model writes into its text, between tags, out of it: pure, fed the text as it comes."""

import re
from typing import NamedTuple

TAGS = {
    "<think>": "</think>",  # DeepSeek, Qwen, and most others
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",  # Gemini
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[think]": "[/think]",  # Magistral
    "<|channel|>analysis<|message|>": "<|end|>",  # gpt-oss
}
"""What models and gateways write, in small letters."""
CLOSING = tuple(TAGS.values())
STRAY = (*CLOSING, "<|start|>assistant<|channel|>final<|message|>", "<|channel|>final<|message|>")
"""What may stand alone before the answer: nothing that is to be read."""
_BLANK = re.compile("[\\s\u200b-\u200d\u2060\ufeff]*")
"""Also characters without width, which some models begin with."""


class Parts(NamedTuple):
    """A piece of text, taken apart."""

    text: str = ""
    thinking: str = ""


class ThinkTags:
    """Only thinking at the beginning counts, one or several in a row: later on, an answer may speak of tags."""

    def __init__(self, *, opened: bool = False) -> None:
        """`opened`: the server's template has written the first tag, and the model only writes the closing one."""
        self._held = ""
        self._closing = CLOSING if opened else ()
        self._state = "opened" if opened else "begin"
        self._fresh = True
        """Whether nothing of this thought has come: the line end after its tag is not thinking."""
        self._after = False
        """Whether there was a thought: the blank lines between it and the answer are neither's."""
        self._beside = False
        """Whether the server tells the thinking elsewhere too."""
        self._unmarked: list[str] | None = [] if opened else None
        """What was taken for thinking without a tag that says so."""

    def feed(self, piece: str) -> Parts:
        """What the piece completes; what may become a tag is held back."""
        self._held += piece
        thinking = ""
        while True:
            if self._state in ("begin", "opened"):
                self._begin()
            if self._state != "thinking":
                break
            thinking += self._think()
            if self._state == "thinking":
                break
        if self._state != "text":
            return Parts("", thinking)
        text, self._held = self._held, ""
        return Parts(text, thinking)

    def flush(self, *, complete: bool = False) -> Parts:
        """What is still held back at the end of the text. `complete`: the model has said all, so that what was told
        as thinking without any tag was its answer."""
        held, self._held = self._held, ""
        state, self._state = self._state, "text"
        unmarked, self._unmarked = self._unmarked, None
        if unmarked is not None and complete:
            return Parts("".join([*unmarked, held]))
        if state in ("thinking", "opened"):
            return Parts(held) if self._beside and complete else Parts(thinking="" if self._beside else held)
        return Parts(held[_blank(held) :] if self._after else held)

    def beside(self) -> None:
        """The server takes thinking out by itself: what it has left in the text as well is not told again."""
        if self._state == "opened":
            self._state, self._closing, self._unmarked = "begin", (), None
        self._beside = self._beside or self._state == "begin"

    def _begin(self) -> None:
        begun = self._held[_blank(self._held) :]
        opening = _tag_at_the_beginning(begun, tuple(TAGS))
        stray = _tag_at_the_beginning(begun, STRAY)
        if opening:
            self._held, self._state, self._fresh = begun[len(opening) :], "thinking", True
            self._closing, self._unmarked = (TAGS[opening],), None
        elif stray:
            self._held, self._state = begun[len(stray) :], "begin"
            self._after, self._unmarked = True, None
            self._begin()
        elif not any(tag.startswith(begun.lower()) for tag in (*TAGS, *STRAY)):  # also when only blanks have come
            if self._after:
                self._held = begun
            self._state = "thinking" if self._state == "opened" else "text"

    def _think(self) -> str:
        if self._fresh:
            self._held = self._held.lstrip("\n")
            self._fresh = not self._held
        found = [match for tag in self._closing if (match := _anywhere(tag).search(self._held))]
        if self._beside and not found:
            return ""
        if found:
            first = min(found, key=re.Match.start)
            thinking, self._held = self._held[: first.start()], self._held[first.end() :]
            self._state, self._after, self._unmarked = "begin", True, None
            return "" if self._beside else thinking
        lowered = self._held[-max(map(len, self._closing)) :].lower()
        keep = max((n for tag in self._closing for n in range(1, len(tag)) if lowered.endswith(tag[:n])), default=0)
        at = len(self._held) - keep
        thinking, self._held = self._held[:at], self._held[at:]
        if self._unmarked is not None:
            self._unmarked.append(thinking)
        return thinking


def _blank(text: str) -> int:
    """How many characters at the beginning can't be seen."""
    match = _BLANK.match(text)
    return match.end() if match else 0


def _tag_at_the_beginning(text: str, tags: tuple[str, ...]) -> str:
    return next((tag for tag in tags if text[: len(tag)].lower() == tag), "")


def _anywhere(tag: str) -> re.Pattern[str]:
    return re.compile(re.escape(tag), re.IGNORECASE | re.ASCII)
