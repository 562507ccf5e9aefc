"""What a model is asked with for a request that brings its own conversation: pure functions of values.

The conversation goes to the model whole and in its order: who sends it has decided what belongs to it, and is told
when it is too long. Only the instructions stand at the beginning, where all chat templates take them.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from core.generation.context_window import Window
from core.generation.history import CONTINUE_PROMPT, Prompt
from core.llm.model_config import ModelConfig
from core.llm.providers.base import Turn


def request_prompt(
    system_prompt: str, turns: Sequence[Turn], answer: str, *, prefill: bool, system_turn: bool
) -> Prompt:
    """The operator's system prompt and the request's own instructions, the other turns, and what has been written
    of the answer; with `prefill` its turn is the last, for the server to continue. Without `system_turn` the
    instructions become part of the first turn of a person's. One of the turns at least is a person's or the system's,
    and has words."""
    own = [turn.text for turn in turns if turn.role == "system" and turn.text.strip()]
    question = list(_joined(turn for turn in turns if turn.role != "system" and turn.text.strip()))
    if not any(turn.role == "user" for turn in question):
        # Some send all that they ask as instructions, which many templates do not take alone.
        question, own = [Turn("user", "\n\n".join(own)), *question], []
    instructions = "\n\n".join(text for text in (system_prompt, *own) if text.strip())
    if instructions and system_turn:
        question.insert(0, Turn("system", instructions))
    elif instructions:
        first = next(place for place, turn in enumerate(question) if turn.role == "user")
        question[first] = Turn("user", f"{instructions}\n\n{question[first].text}")
    if not answer.strip():
        return Prompt(question, [], least=True)
    going_on = [] if prefill else [Turn("user", CONTINUE_PROMPT)]
    return Prompt(question, [Turn("assistant", answer), *going_on], least=True)


def tokens_too_many(
    config: ModelConfig, system_prompt: str, turns: Sequence[Turn], bytes_per_token: float
) -> int | None:
    """About how many tokens the conversation has, if that is more than the model's context; else None."""
    window = Window.whole(config, bytes_per_token)
    tokens = window.taken_by([Turn("system", system_prompt), *turns] if system_prompt.strip() else turns)
    return tokens if tokens > window.room else None


def _joined(turns: Iterable[Turn]) -> Iterator[Turn]:
    """Neighbours of one role are one turn: strict templates take them by turns."""
    for role, same in groupby(turns, lambda turn: turn.role):
        yield Turn(role, "\n\n".join(turn.text for turn in same))
