"""Conversations as they are kept, and the prompts that are made of them."""

from dataclasses import replace
from typing import Any

from core.conversation.message import Message
from core.generation.context_window import Window
from core.generation.history import Prompt, fit

ROOMY = Window(100_000, 3.0)


def a_message(role: str, text: str, **more: Any) -> Message:
    """One that is complete."""
    return Message("id", role, text, None, "complete", "", **more)  # type: ignore[arg-type]


def asked(text: str) -> Message:
    """A person's."""
    return a_message("user", text)


def answered(text: str = "", **more: Any) -> Message:
    """A model's."""
    return a_message("assistant", text, **more)


def failed(reason: str, text: str = "") -> Message:
    """What there is of an answer that failed, of a provider's kinds of failure."""
    problem = {"type": "/problems/provider-failed", "reason": reason}
    return replace(answered(text, finish_reason="error", problem=problem), state="failed")


def conversation(*texts: str) -> list[Message]:
    """Questions and answers in turn."""
    return [a_message("user" if index % 2 == 0 else "assistant", text) for index, text in enumerate(texts)]


def fitted(window: Window, system: str, messages: list[Message], answer: str = "", **options: Any) -> Prompt:
    """The prompt that is made of messages, oldest first."""
    prompt = fit(window, system, reversed(messages), answer, **options)
    assert prompt is not None
    return prompt
