"""A conversation that a request brings goes to the model whole and in its order."""

import pytest

from core.conversation.damage import Damaged
from core.generation.answer_requests import AnswerRequest
from core.generation.history import CONTINUE_PROMPT
from core.generation.request_prompt import request_prompt
from core.llm.providers.base import Sampling, Turn


def _prompt(*turns: tuple[str, str], answer: str = "", prefill: bool = False, system_turn: bool = True) -> list[str]:
    asked = [Turn(role, text) for role, text in turns]  # type: ignore[arg-type]
    prompt = request_prompt("Be kind.", asked, answer, prefill=prefill, system_turn=system_turn)
    return [f"{turn.role}: {turn.text}" for turn in prompt.turns]


def test_instructions_stand_at_the_beginning_and_neighbours_are_joined() -> None:
    turns = [("user", "A?"), ("system", "Short."), ("user", "B?"), ("assistant", " "), ("user", "C?")]
    assert _prompt(*turns) == ["system: Be kind.\n\nShort.", "user: A?\n\nB?\n\nC?"]
    assert _prompt(("assistant", "Hello!"), ("user", "Hi"), system_turn=False) == [
        "assistant: Hello!",
        "user: Be kind.\n\nHi",
    ]


def test_instructions_alone_are_what_is_asked() -> None:
    assert _prompt(("system", "Tell a joke.")) == ["system: Be kind.", "user: Tell a joke."]
    assert _prompt(("assistant", "Hello!"), ("system", "Go on."), ("system", "Now.")) == [
        "system: Be kind.",
        "user: Go on.\n\nNow.",
        "assistant: Hello!",
    ]
    assert _prompt(("system", "Tell a joke."), system_turn=False) == ["user: Be kind.\n\nTell a joke."]


def test_an_answer_is_gone_on_with() -> None:
    asked = ["system: Be kind.", "user: Why?"]
    assert _prompt(("user", "Why?"), answer="Because", prefill=True) == [*asked, "assistant: Because"]
    assert _prompt(("user", "Why?"), answer="Because") == [*asked, "assistant: Because", f"user: {CONTINUE_PROMPT}"]


def test_a_request_is_read_as_it_was_kept() -> None:
    request = AnswerRequest((Turn("user", 'Why "ü"?\n'),), Sampling(stop=("a", "b"), temperature=0.5))
    assert AnswerRequest.load(request.dump()) == request
    for damaged in ("", "[]", '{"turns": 3, "sampling": {}}', '{"turns": [["user"]], "sampling": {"stop": []}}'):
        with pytest.raises(Damaged):
            AnswerRequest.load(damaged)
