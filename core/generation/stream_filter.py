"""What of a provider's stream becomes the answer: pure, over what comes and the moments at which it came."""

from typing import NamedTuple

from core.generation.batch import Batch
from core.generation.continuation import Overlap
from core.generation.deadlines import Deadlines
from core.generation.failure import EmptyAnswer, end_of_words
from core.generation.leading_blanks import LeadingBlanks
from core.generation.stop_sequences import StopSequences
from core.generation.thinking import Thinking, ThinkingClock
from core.llm.providers.base import NO_SAMPLING, ErrorKind, FinishReason, ProviderError, Sampling, Usage
from core.text.characters import blank

MAX_ANSWER_LENGTH = 1_000_000
"""Characters of an answer, for servers that do not mind `max_tokens`. Exactly: what comes beyond is not kept."""


class StreamOutput(NamedTuple):
    """What to do next: tell the thinking and the text, and then raise the error or stop for the reason, if any."""

    thinking: str = ""
    text: str = ""
    error: ProviderError | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    """What the provider has counted, when it has told of all the request."""
    ending_error: ProviderError | None = None
    """The error as which the provider has told of the end, if it did."""
    thinking_ms: int = 0
    """Milliseconds that the answer's thinking has taken by now."""


class StreamFilter:
    """Of one request: it continues `text`, which the model may repeat unless it is `prefilled` with it."""

    def __init__(
        self,
        text: str,
        thinking: Thinking,
        deadlines: Deadlines,
        *,
        prefilled: bool,
        sampling: Sampling = NO_SAMPLING,
    ) -> None:
        """`text` and `thinking`: what there is of the answer when the request begins."""
        self._length = len(text)
        self._stop = StopSequences(sampling.stop)
        # Who asks for an early end may get it before the first word.
        self._ends_of_nothing = {
            *(("stop",) if sampling.stop else ()),
            *(("length",) if sampling.max_tokens else ()),
        }
        self._wrote = False
        self._spoke = False
        """Whether a word of text has come, also one that is held back as a repetition."""
        self._thinking_clock = ThinkingClock(thinking)
        self._thinking_room = thinking.room
        self._thought = False
        self._deadlines = deadlines
        self._overlap = Overlap("" if prefilled else text)
        self._leading_blanks = LeadingBlanks(begun=bool(text))
        # Models that are told not to think say so with a blank thought.
        self._first_thought = LeadingBlanks(begun=bool(thinking.text) and not thinking.stale)

    @property
    def said(self) -> bool:
        """Whether the request has brought words, or thoughts."""
        return self._spoke or self._thought

    def pause(self, seconds: float) -> None:
        """Don't take the last so many seconds for the model's: nobody has listened."""
        self._deadlines.pause(seconds)

    def take(self, batch: Batch, now: float) -> StreamOutput:
        """Judge what has come `now`, in seconds of one clock."""
        self._spoke = self._spoke or not blank(batch.text)
        text = self._overlap.feed(batch.text) if batch.text else ""
        if batch.ended or batch.finish_reason:
            text += self._overlap.flush()
        text = self._stop.feed(text)
        if self._is_over(batch):
            text += self._stop.flush()
        text = self._leading_blanks.feed(text)
        room = MAX_ANSWER_LENGTH - self._length
        kept = text[:room]
        self._length += len(kept)
        self._wrote = self._wrote or not blank(kept)
        thinking = self._first_thought.feed(batch.thinking)
        self._thought = self._thought or bool(thinking)
        self._thinking_clock.note(bool(thinking), bool(kept), now)
        thinking = thinking[: self._thinking_room]
        self._thinking_room -= len(thinking)
        output = StreamOutput(thinking, kept, thinking_ms=self._thinking_clock.milliseconds)
        if len(text) > room:
            return output._replace(finish_reason="length")
        if self._stop.met:
            return output._replace(finish_reason="stop")
        return self._with_end(output, batch, now)

    def _is_over(self, batch: Batch) -> bool:
        """Whether the answer has all its words: it has not broken off, to be gone on with."""
        if batch.error is not None:
            return end_of_words(batch.error, wrote=self._spoke) is not None
        return batch.ended or batch.finish_reason is not None

    def _with_end(self, output: StreamOutput, batch: Batch, now: float) -> StreamOutput:
        """The output, with the error or the end that has come with it, or that has to be made."""
        if batch.error is not None:
            reason = end_of_words(batch.error, wrote=self._wrote) if self._length else None
            if reason is None:
                return output._replace(error=batch.error)
            return output._replace(finish_reason=reason, ending_error=batch.error)
        try:
            enough = self._deadlines.expired(batch, now, begun=self._spoke)
        except ProviderError as silent:
            return output._replace(error=silent)
        if self._leading_blanks.too_long:
            return output._replace(error=EmptyAnswer("other", thought=self._thought))
        if not enough:
            return output
        if self._length or batch.finish_reason in self._ends_of_nothing:
            usage = batch.usage if batch.finish_reason else None
            return output._replace(finish_reason=batch.finish_reason or "length", usage=usage)
        if not batch.finish_reason:
            kind = ErrorKind.BROKEN_STREAM if batch.ended else ErrorKind.TIMEOUT
            return output._replace(error=ProviderError(kind, "no text"))
        # Many servers only count what their models think, and don't show it.
        thought = self._thought or bool(batch.usage and batch.usage.reasoning_tokens)
        return output._replace(error=EmptyAnswer(batch.finish_reason, thought=thought, usage=batch.usage))
