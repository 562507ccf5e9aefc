"""Which turns of a conversation go to the model: a pure function of values.

Chat templates take a system prompt, if any, and then a person's turn and the model's in alternation; the strict ones
(Mistral's, Gemma's) refuse all else for good, and servers refuse turns that are blank. Conversations are not like
that: answers fail, are stopped before a word, or are empty.
"""

from collections.abc import Iterable, Iterator
from itertools import dropwhile, groupby
from typing import Literal, NamedTuple

from core.conversation.message import Message
from core.generation.context_window import Window
from core.generation.prompt_variants import OF_THE_CONVERSATION, PromptVariant, Scope
from core.generation.tokens import TURN_OVERHEAD
from core.generation.tokens import size as bytes_of
from core.llm.providers.base import ErrorKind, Turn

CONTINUE_PROMPT = "Go on exactly where your answer broke off. Do not repeat any of it and do not comment."
MIN_ANSWER_TAIL = 100
"""Characters of an answer's end that it takes to go on with it."""
TWO_FILTERED = [True, True]
"""The newest answers, when they are taken for more than a question's own trouble."""
MAX_SKIPPED_QUESTIONS = 10
"""Questions without an answer that are passed over at the most, because they do not fit, to find what does."""


FULL_HISTORY = PromptVariant(prefill=False)


class Prompt(NamedTuple):
    """What a model is asked with."""

    question: list[Turn]
    """The system prompt, the history, and the question."""
    answer: list[Turn]
    """What there is of the answer, and the request to go on with it. Of a long one, the end."""
    least: bool
    """Whether nothing can be left out."""
    doubtful: bool = False
    """Whether there are questions before this one without an answer, or with one that failed, told or not."""

    @property
    def turns(self) -> list[Turn]:
        """All of it."""
        return [*self.question, *self.answer]


def fit(
    window: Window,
    system_prompt: str,
    newest_first: Iterable[Message],
    answer: str = "",
    *,
    variant: PromptVariant = FULL_HISTORY,
    system_turn: bool = True,
) -> Prompt | None:
    """The newest turns that fit into the window. None when there is no question.

    The question is always there, even when it alone is too long: then the model's server says so, which is better
    than answering another one. `answer`: what has been written of the answer; with `variant.prefill` its turn is
    the last, for the server to continue. Without `system_turn` the system prompt becomes part of the first question.
    No more messages are taken than it takes to know.
    """
    told = _InScope(newest_first, variant.scope)
    messages = dropwhile(lambda message: message.role != "user", told)
    question = next(messages, None)
    if question is None:
        return None
    system_prompt = system_prompt if system_prompt.strip() else ""
    left = window.room - window.tokens(question.text) - (window.tokens(system_prompt) if system_prompt else 0)
    written = [] if not answer.strip() else [Turn("assistant", answer)]
    going_on = [] if variant.prefill or not written else [Turn("user", CONTINUE_PROMPT)]
    left -= window.taken_by(going_on)
    end_is_least = True
    if written:
        end = _end(answer, int((left - TURN_OVERHEAD) * window.bytes_per_token))
        end_is_least = len(end.rstrip()) <= MIN_ANSWER_TAIL
        written = [Turn("assistant", end)]
        left -= window.taken_by(written)
    kept = _kept(question, messages, window, left)
    turns = [Turn(role, "\n\n".join(same)) for role, same in _by_role(kept)]
    if system_prompt and system_turn:
        turns.insert(0, Turn("system", system_prompt))
    elif system_prompt:
        turns[0] = Turn("user", f"{system_prompt}\n\n{turns[0].text}")
    return Prompt(turns, [*written, *going_on], end_is_least and len(kept) == 1, told.doubtful)


class _InScope:
    """Messages that have words and are of the scope, newest first, as they are taken. Nothing before the newest
    answers if all those were cut by a filter: it may be older words that it minds, and every question would fail.

    An exchange that failed, with or without words, is told again until a question after it has been answered: with
    it, or only because it was left out, which nothing tells apart. Told for ever, it could fail each later question.
    So what it asked is known by that answer alone, unless its failure is known to have had nothing to do with it.
    """

    def __init__(self, newest_first: Iterable[Message], scope: Scope) -> None:
        self._newest_first = newest_first
        self._scope = scope
        self.doubtful = False
        """Whether any so far belong to an exchange without an answer, or with one that failed."""

    def __iter__(self) -> Iterator[Message]:
        left_out = answered_since = False
        answers: list[bool] = []
        """Whether a filter has cut each of the newest ones in the middle."""
        for message in self._newest_first:
            spoken = bool(message.text.strip())
            if message.role == "assistant":
                filtered = _is_filtered(message)
                answered = spoken and not filtered and message.state != "failed"
                self.doubtful = self.doubtful or not answered
                if answered:
                    left_out, answered_since = False, True
                elif filtered or self._scope is Scope.ANSWERED or (answered_since and not _had_other_cause(message)):
                    left_out = True
                answers.append(filtered and spoken)
            if (answers and self._scope is Scope.NONE) or answers == TWO_FILTERED:
                return
            if spoken and not left_out:
                yield message


def _is_filtered(answer: Message) -> bool:
    return answer.finish_reason == "content_filter" or _reason(answer) == ErrorKind.FILTERED


def _had_other_cause(answer: Message) -> bool:
    """Whether it failed with something that is known to be no trouble of what was asked."""
    reason = _reason(answer)
    return reason is not None and reason not in OF_THE_CONVERSATION


def _reason(answer: Message) -> str | None:
    return answer.problem.get("reason") if answer.problem else None


def _kept(question: Message, older: Iterable[Message], window: Window, left: int) -> list[Message]:
    """The question and the messages before it that fit, oldest first, beginning with a person's."""
    kept = [question]
    passed_over = 0
    for message in older:
        tokens = window.tokens(message.text)
        if tokens <= left:
            kept.append(message)
            left -= tokens
        elif message.role == kept[-1].role == "user" and passed_over < MAX_SKIPPED_QUESTIONS:
            passed_over += 1
        else:
            break
    while kept[-1].role != "user":
        kept.pop()
    return kept[::-1]


def _by_role(messages: Iterable[Message]) -> Iterator[tuple[Literal["user", "assistant"], Iterator[str]]]:
    for role, same in groupby(messages, lambda message: message.role):
        yield role, (message.text for message in same)


def _end(answer: str, size: int) -> str:
    """The end of an answer, of at most so many bytes, but long enough to go on with, and not blank."""
    if bytes_of(answer) <= size:
        return answer
    spoken = answer.rstrip()
    fits = spoken.encode(errors="surrogatepass")[-size:].decode(errors="ignore") if size > 0 else ""
    return max(fits, spoken[-MIN_ANSWER_TAIL:], key=len) + answer[len(spoken) :][:MIN_ANSWER_TAIL]
