"""How long an answer may be, and what counts and refusals have told of it: values, and pure functions of them."""

from collections.abc import Sequence
from typing import NamedTuple

from core.llm.catalog import ModelConfig
from core.llm.providers.base import ErrorKind, Turn
from core.llm.providers.errors import Complaint

ALLOWANCE = 8192
"""Tokens that a model which thinks may do so for at the most, when its table does not say."""
MIN_ROOM = 64
"""Tokens of an answer that are worth asking for."""
MIN_MEASURED_TOKENS = 256
"""Tokens: of a request with fewer, the template is too great a part to tell how long the texts' tokens are. An answer
is asked to be shorter than that only when figures say so."""
BYTES_PER_TOKEN = 3.0
"""Until the server has counted."""
MIN_BYTES_PER_TOKEN, MAX_BYTES_PER_TOKEN = 0.25, 8.0
TOKENS_PER_TURN = 8
"""Tokens that the template adds to a turn."""


class Room(NamedTuple):
    """What has been learned of a model."""

    thinks: bool = False
    """Whether it has been seen thinking."""
    context: int | None = None
    """Tokens that the server's context holds, as a refusal said."""
    most: int | None = None
    """Tokens that an answer may be asked for, as a refusal said."""
    bytes_per_token: float | None = None
    """Of what it is asked, as the server counts."""

    def __or__(self, other: "Room") -> "Room":
        """Both; where they differ, the second one knows better."""
        return Room(
            self.thinks or other.thinks,
            other.context or self.context,
            other.most or self.most,
            other.bytes_per_token or self.bytes_per_token,
        )


def size(turns: Sequence[Turn]) -> int:
    """Bytes of the turns' texts."""
    return sum(len(turn.text.encode(errors="replace")) for turn in turns)


def counted(known: Room, asked: int, prompt_tokens: int | None) -> Room:
    """What a count of the tokens in so many bytes tells. Tokens that are shorter than thought matter at once: others
    cost only the room between."""
    if prompt_tokens is None or prompt_tokens < MIN_MEASURED_TOKENS:
        return Room()
    seen = min(max(asked / prompt_tokens, MIN_BYTES_PER_TOKEN), MAX_BYTES_PER_TOKEN)
    before = known.bytes_per_token or seen
    return Room(bytes_per_token=seen if seen < before else (seen + before) / 2)


def limit(config: ModelConfig, turns: Sequence[Turn], room: Room) -> int:
    """How many tokens an answer may have, the thinking before it included, which is not to be taken from it."""
    asked = int(size(turns) / (room.bytes_per_token or BYTES_PER_TOKEN)) + TOKENS_PER_TURN * len(turns)
    context = min(config.context_tokens, room.context or config.context_tokens)
    allowance = config.thinking_budget or 0
    if config.thinking_budget is None and room.thinks:
        # Some servers refuse what might not fit.
        allowance = max(0, min(ALLOWANCE, context // 4, context - config.max_tokens - asked))
    most = config.max_tokens + allowance
    if room.context is not None:
        most = min(most, max(room.context - asked, MIN_MEASURED_TOKENS))
    return most if room.most is None else min(most, room.most)


def smaller(complaint: Complaint, sent: int, usual: int) -> int | None:
    """The limit to ask with instead of what was sent, after this refusal; None when a smaller one is no help.

    `usual`: what the model's table has for an answer, without thinking.
    """
    without_thinking = usual if usual < sent else None
    if complaint.of_the_limit:
        most = complaint.most_tokens
        if complaint.kind is ErrorKind.QUOTA and (most is None or most < MIN_ROOM):
            return None
        return most if most is not None and most < sent else without_thinking
    if complaint.kind is not ErrorKind.TOO_LONG:
        return None
    if complaint.prompt_tokens is None or complaint.limit_tokens is None:
        return None if complaint.status == 413 else without_thinking  # 413: its bytes are too many
    left = complaint.limit_tokens - complaint.prompt_tokens
    if complaint.counts_both and complaint.prompt_tokens >= sent:
        left += sent  # less by what is too much, to the token
        return left if MIN_ROOM <= left < sent else None
    if left < MIN_ROOM and without_thinking and complaint.prompt_tokens > sent:
        left += sent  # the server may have counted both
    if left == sent - 1:  # it has only counted as far as it had to: "at least"
        left = without_thinking or sent // 2
    return left if MIN_ROOM <= left < sent else None


def told(complaint: Complaint, asked: int, known: Room, instead: int) -> Room:
    """What the refusal of a request of so many bytes tells of others, if a limit of `instead` cures it."""
    # Of a rate others take too, and what can be paid for changes with each answer.
    if complaint.kind is ErrorKind.QUOTA or complaint.status in (413, 429) or complaint.counts_both:
        return Room()
    if complaint.of_the_limit:
        return Room(most=instead)
    return Room(context=complaint.limit_tokens) | counted(known, asked, complaint.prompt_tokens)


def of_the_prompt(complaint: Complaint, sent: int) -> Complaint:
    """The complaint with the tokens of the prompt alone, where the server has counted the limit with them. A count
    that is less than the limit has none of it. `sent`: that limit, 0 when the server was told none."""
    both = complaint.prompt_tokens
    if not complaint.counts_both or both is None or both < sent:
        return complaint
    return complaint._replace(prompt_tokens=both - sent or None)
