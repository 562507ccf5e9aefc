"""Takes thinking that a model writes into its text, between tags, out of it: pure, fed the text as it comes."""

from typing import NamedTuple

TAGS = {"<think>": "</think>", "<thinking>": "</thinking>", "<thought>": "</thought>"}
"""What models and gateways write: DeepSeek's and Qwen's form, and others in use."""
CLOSING = tuple(TAGS.values())


class Parts(NamedTuple):
    """A piece of text, taken apart."""

    text: str = ""
    thinking: str = ""


class ThinkTags:
    """Only thinking at the beginning counts: later on, an answer may speak of tags."""

    def __init__(self, *, opened: bool = False) -> None:
        """`opened`: the server's template has written the first tag, and the model only writes the closing one."""
        self._held = ""
        self._closing = CLOSING if opened else ()
        self._state = "opened" if opened else "begin"
        self._thought = False

    def feed(self, piece: str) -> Parts:
        """What the piece completes; what may become a tag is held back."""
        self._held += piece
        text, thinking = "", ""
        if self._state in ("begin", "opened"):
            self._begin()
        if self._state == "thinking":
            thinking = self._think()
        if self._state == "after":  # the blank lines between the thinking and the answer are neither's
            self._held = self._held.lstrip()
            self._state = "text" if self._held else "after"
        if self._state == "text":
            text, self._held = self._held, ""
        return Parts(text, thinking)

    def flush(self) -> Parts:
        """What is still held back, at the end of the answer."""
        held, self._held = self._held, ""
        return Parts(thinking=held) if self._state in ("thinking", "opened") else Parts(held)

    def pass_on(self) -> Parts:
        """From here on all is text: the server takes thinking out by itself. Gives what was held back."""
        held, self._held, self._state = self._held, "", "text"
        return Parts(held)

    @property
    def undecided(self) -> bool:
        """Whether nothing has come yet that tells thinking from text."""
        return self._state in ("begin", "opened")

    def _begin(self) -> None:
        begun = self._held.lstrip()
        for tag, closing in TAGS.items():
            if begun.startswith(tag):
                self._closing = (closing,)
                self._held, self._state = begun.removeprefix(tag), "thinking"
                return
        if any(tag.startswith(begun) for tag in TAGS):  # also when nothing or only blanks have come
            return
        self._state = "thinking" if self._state == "opened" else "text"

    def _think(self) -> str:
        if not self._thought:  # the line end after the tag is not thinking
            self._held = self._held.lstrip("\n")
            self._thought = bool(self._held)
        found = [(at, tag) for tag in self._closing if (at := self._held.find(tag)) >= 0]
        if found:
            at, tag = min(found)
            thinking, self._held = self._held[:at], self._held[at + len(tag) :]
            self._state = "after"
            return thinking
        keep = max(
            (n for tag in self._closing for n in range(1, len(tag)) if self._held.endswith(tag[:n])), default=0
        )
        at = len(self._held) - keep
        thinking, self._held = self._held[:at], self._held[at:]
        return thinking
