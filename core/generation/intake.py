"""What of a provider's stream becomes the answer: pure, over what comes and the moments at which it came."""

from typing import NamedTuple

from core.generation.chunk_reader import Batch
from core.generation.continuation import Overlap
from core.generation.deadlines import Deadlines
from core.generation.failure import Wordless, end_of_words
from core.generation.opening import Opening
from core.generation.thinking import Thinking
from core.llm.providers.base import ErrorKind, FinishReason, ProviderError, Usage
from core.text.characters import blank

MAX_ANSWER_LENGTH = 1_000_000
"""Characters of an answer, for servers that do not mind `max_tokens`. Exactly: what comes beyond is not kept."""


class Heard(NamedTuple):
    """What to do next: tell the thinking and the text, and then raise the error or stop for the reason, if any."""

    thinking: str = ""
    text: str = ""
    error: ProviderError | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    """What the provider has counted, when it has told of all the request."""
    told_as: ProviderError | None = None
    """The error as which the provider has told of the end, if it did."""


class Intake:
    """Of one request: it continues `text`, which the model may repeat unless it is `prefilled` with it."""

    def __init__(self, text: str, thinking: Thinking, deadlines: Deadlines, *, prefilled: bool) -> None:
        self._length = len(text)
        self._wrote = False
        self._spoke = False
        """Whether a word of text has come, also one that is held back as a repetition."""
        self._thinking = thinking
        self._thought = False
        self._deadlines = deadlines
        self._overlap = Overlap("" if prefilled else text)
        self._opening = Opening(begun=bool(text))
        # Models that are told not to think say so with a blank thought.
        self._first_thought = Opening(begun=bool(thinking.text) and not thinking.stale)

    def take(self, batch: Batch, now: float) -> Heard:
        """Judge what has come `now`, in seconds of one clock."""
        self._spoke = self._spoke or not blank(batch.text)
        text = self._overlap.feed(batch.text) if batch.text else ""
        if batch.ended or batch.finish_reason:
            text += self._overlap.flush()
        text = self._opening.feed(text)
        room = MAX_ANSWER_LENGTH - self._length
        kept = text[:room]
        self._length += len(kept)
        self._wrote = self._wrote or not blank(kept)
        thinking = self._first_thought.feed(batch.thinking)
        self._thought = self._thought or bool(thinking)
        self._thinking.heard(bool(thinking), bool(kept), now)
        heard = Heard(thinking[: self._thinking.room], kept)
        if len(text) > room:
            return heard._replace(finish_reason="length")
        return self._over(heard, batch, now)

    def _over(self, heard: Heard, batch: Batch, now: float) -> Heard:
        """What has been heard, with the error or the end that has come with it, or that has to be made."""
        if batch.error is not None:
            reason = end_of_words(batch.error, wrote=self._wrote) if self._length else None
            if reason is None:
                return heard._replace(error=batch.error)
            return heard._replace(finish_reason=reason, told_as=batch.error)
        try:
            enough = self._deadlines.expired(batch, now, begun=self._spoke)
        except ProviderError as silent:
            return heard._replace(error=silent)
        if self._opening.too_long:
            return heard._replace(error=Wordless("other", thought=self._thought))
        if not enough:
            return heard
        if self._length:
            usage = batch.usage if batch.finish_reason else None
            return heard._replace(finish_reason=batch.finish_reason or "length", usage=usage)
        if not batch.finish_reason:
            kind = ErrorKind.BROKEN_STREAM if batch.ended else ErrorKind.TIMEOUT
            return heard._replace(error=ProviderError(kind, "no text"))
        # Many servers only count what their models think, and don't show it.
        thought = self._thought or bool(batch.usage and batch.usage.reasoning_tokens)
        return heard._replace(error=Wordless(batch.finish_reason, thought=thought))
