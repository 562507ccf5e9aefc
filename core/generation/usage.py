"""What an answer counts for, in tokens: pure functions of values.

What the provider reports holds for an answer that one request has written. Of one that was stopped, broken off or
carried on there is no such report, or one that counts the same words twice: then what was shown is estimated. So are
figures that can't be.

The prompt counts once a model's server has taken it, whether a word came of it or not, and once for all requests,
fallbacks and workers that the answer took: that these were needed is not its asker's doing.
"""

from collections.abc import Iterable

from core.generation.tokens import estimate
from core.limits.message_limits import Spending
from core.llm.model_config import ModelConfig
from core.llm.providers.base import Turn, Usage

BYTES_PER_TOKEN = 4
"""About what English has. Budgets need a fair guess, where core/generation/history.py needs a cautious one."""


MAX_TOKENS_PER_BYTE = 4
MAX_TEMPLATE_TOKENS = 4000
"""Tokens that a server may add to what it is sent: some have system prompts of their own."""


def tokens(text: str) -> int:
    """About as many tokens as the text has."""
    return estimate(text, BYTES_PER_TOKEN)


def prompt(turns: Iterable[Turn]) -> int:
    """About as many tokens as a conversation has."""
    return sum(tokens(turn.text) for turn in turns)


def most(config: ModelConfig) -> int:
    """As many tokens as a model's answer may have, with its thinking."""
    return config.max_tokens + (config.thinking_budget or 0)


def at_most(config: ModelConfig, prompt_tokens: int, limit: int | None = None) -> Spending:
    """What an answer to such a prompt may come to. `limit`: the tokens that it is not to exceed, if the request says
    so."""
    output = min(most(config), limit or most(config))
    return Spending(prompt_tokens + output, config.price.cost(prompt_tokens, output))


def shown(prompt_tokens: int, text: str, thinking: str) -> Usage:
    """Of an answer without a report. Thinking that was begun again counts as often as it is kept, which is once."""
    thought = tokens(thinking)
    return Usage(prompt_tokens, tokens(text) + thought, thought)


def left(limit: int | None, text: str, thinking: str) -> int | None:
    """How many tokens an answer with this text and thinking may still have, 0 for none; None without a limit. One
    without text is begun again, and so is its thinking."""
    return limit and max(0, limit - shown(0, text, thinking).completion_tokens if text else limit)


def prompt_is_credible(reported: int, estimated: int) -> bool:
    """Whether a provider can have counted so many tokens in a prompt: some report none at all, or absurd numbers."""
    return 0 < reported <= MAX_TOKENS_PER_BYTE * BYTES_PER_TOKEN * estimated + MAX_TEMPLATE_TOKENS


def credible(reported: Usage, estimated: Usage) -> Usage:
    """A report on an answer, with the estimate in place of what it can't be."""
    if prompt_is_credible(reported.prompt_tokens, estimated.prompt_tokens):
        estimated = estimated._replace(prompt_tokens=reported.prompt_tokens)
    return reported._replace(prompt_tokens=estimated.prompt_tokens) if reported.completion_tokens else estimated


def with_thinking(usage: Usage, text: str, thinking: str) -> Usage:
    """Of an answer with a report. Most servers do not say how much of what was written is thinking; then it is
    its share of what is kept, and the sum stays theirs. Of `text`, if any, no share is so small that it has no token.
    """
    if usage.reasoning_tokens or not thinking:
        return usage
    share = tokens(thinking) / (tokens(thinking) + tokens(text))
    most = max(usage.completion_tokens - bool(text), 0)
    return usage._replace(reasoning_tokens=min(max(round(usage.completion_tokens * share), 1), most))


class UsageMeter:
    """Counts the tokens of one answer, from its requests and what the provider reports."""

    def __init__(self, prompt_tokens: int = 0) -> None:
        """`prompt_tokens`: as the row has them, of the prompt that an earlier worker has asked with."""
        self._prompt_tokens = prompt_tokens
        self.noted = prompt_tokens
        """What the row has of them."""
        self._asking = 0
        self._begun = False
        self._reported: Usage | None = None

    @property
    def prompt_tokens(self) -> int:
        """Those of the prompt that counts, or that will if its request is taken."""
        return self._prompt_tokens or self._asking

    def ask(self, question: Iterable[Turn], *, begun: bool) -> None:
        """A model is asked with this conversation. `begun`: the answer has words already, which an earlier prompt is
        counted for."""
        self._asking, self._begun = prompt(question), begun

    def take(self) -> None:
        """The model's server has taken the prompt that it is asked with. Of an answer without a word, what came of
        the requests before counts no more."""
        if not self._begun:
            self._prompt_tokens, self._reported = self._asking, None
        self._prompt_tokens = self._prompt_tokens or self._asking

    def refuse(self) -> None:
        """The model's server has not taken it."""
        self._asking = 0

    def report(self, usage: Usage) -> None:
        """All that there is of the answer has come of one request, and this is what it counts for."""
        self._reported = usage

    def usage(self, text: str, thinking: str) -> Usage:
        """What an answer with this text and thinking counts for."""
        if self._reported is not None:
            return with_thinking(self._reported, text, thinking)
        return self.estimate(text, thinking)

    def estimate(self, text: str, thinking: str) -> Usage:
        """What it counts for by what was asked and shown, without any report."""
        return shown(self._prompt_tokens, text, thinking)
