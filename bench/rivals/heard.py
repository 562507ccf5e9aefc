"""What a reader has got of an answer, token by token."""

import re
import time
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from bench.provider import TOKEN_LENGTH, Manner

TOKEN = re.compile(rb"(\d{4})\.(\d{19}) ")


@dataclass
class Heard:
    """The tokens in the order in which they came. Times are nanoseconds of the machine's monotonic clock."""

    asked: int = 0
    """When the question was sent first."""
    ended: bool = False
    """Whether the reader was told that the answer is over."""
    trouble: str = ""
    """What the server said last when it refused, or gave up."""
    numbers: "array[int]" = field(default_factory=lambda: array("H"))
    sent: "array[int]" = field(default_factory=lambda: array("Q"))
    arrived: "array[int]" = field(default_factory=lambda: array("Q"))
    rest: bytes = b""
    """The end of the last block, in which a token may have begun."""

    def take(self, block: bytes) -> bytes:
        """Note the tokens in a block of a stream; all that may have the beginning of something else, joined."""
        now = time.monotonic_ns()
        whole = self.rest + block
        end = 0
        for found in TOKEN.finditer(whole):
            self.numbers.append(int(found[1]))
            self.sent.append(int(found[2]))
            self.arrived.append(now)
            end = found.end()
        self.rest = whole[max(end, len(whole) - TOKEN_LENGTH) :]
        return whole

    @property
    def last(self) -> int:
        """When the reader has heard something last."""
        return self.arrived[-1] if self.arrived else self.asked

    def lost(self, tokens: int) -> int:
        """Characters of the answer that never came."""
        return (tokens - len(set(self.numbers))) * TOKEN_LENGTH

    @property
    def doubled(self) -> int:
        """Characters that came more than once."""
        return (len(self.numbers) - len(set(self.numbers))) * TOKEN_LENGTH

    def whole(self, tokens: int) -> bool:
        """Whether the answer is here as it was sent."""
        return list(self.numbers) == list(range(tokens))

    @property
    def longest_pause(self) -> float:
        """Seconds: the longest time between two tokens, or before the first."""
        return max(after - before for before, after in pairwise([self.asked, *self.arrived])) / 1e9

    @property
    def delays(self) -> list[float]:
        """Milliseconds from each token's sending to its arrival."""
        return [(arrival - sent) / 1e6 for sent, arrival in zip(self.sent, self.arrived, strict=True)]

    @property
    def first_after(self) -> float:
        """Milliseconds from the question to the first token."""
        return (self.arrived[0] - self.asked) / 1e6


def tell_troubles(heard: Iterable[Heard], manner: Manner) -> None:
    """Print what the readers of answers that are not whole have been told."""
    broken = [answer for answer in heard if not answer.whole(manner.tokens)]
    told = Counter(answer.trouble or ("an end" if answer.ended else "nothing") for answer in broken)
    for trouble, count in told.most_common(3):
        print(f"  {count} readers without all of their answer were told: {trouble}", flush=True)
