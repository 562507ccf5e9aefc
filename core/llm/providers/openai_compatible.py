"""The OpenAI wire protocol, its chat completions: OpenAI and most other servers, each in a form of its own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.llm.model_config import ModelConfig
from core.llm.providers.answer import Interpreter
from core.llm.providers.base import (
    NO_SAMPLING,
    Chunk,
    ErrorKind,
    FinishReason,
    ProviderError,
    Sampling,
    Turn,
    Usage,
    believable,
)
from core.llm.providers.errors import Complaint, RequestRefused, error_in
from core.llm.providers.events import DONE, ProviderEvent
from core.llm.providers.message_parts import content, is_thought, reasoning, refusal

PATH = "/chat/completions"


class OpenAICompatible:
    """How a model is asked in this protocol."""

    path = PATH
    required: frozenset[str] = frozenset()

    def __init__(self, config: ModelConfig, host: str) -> None:
        self._config = config
        # OpenAI's newer models refuse the old name of the limit; other servers may not know the new one.
        self._limit = "max_completion_tokens" if host == "api.openai.com" else "max_tokens"
        self._azure = host.endswith(".azure.com")

    def headers(self, key: str) -> dict[str, str]:
        """What shows the key."""
        return {"Authorization": f"Bearer {key}", **({"api-key": key} if self._azure else {})}

    def parameters(self, limit: int, sampling: Sampling = NO_SAMPLING) -> dict[str, Any]:
        """What a request has besides the conversation; `limit`: tokens of the answer and its thinking."""
        config = self._config
        wanted = {
            "temperature": config.temperature if sampling.temperature is None else sampling.temperature,
            "reasoning_effort": config.reasoning_effort,
            "top_p": sampling.top_p,
            "stop": list(sampling.stop) or None,
            "seed": sampling.seed,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "user": sampling.user,
        }
        return {
            self._limit: limit,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in wanted.items() if value is not None},
        }

    def conversation(self, turns: Sequence[Turn]) -> dict[str, Any]:
        """The turns as they are."""
        return {"messages": [{"role": turn.role, "content": turn.text} for turn in turns]}

    def interpreter(self, turns: Sequence[Turn], limit: int) -> Interpreter:
        """For the answer to these turns."""
        return CompletionInterpreter(limit)


FINISH: dict[str, FinishReason] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(
        ("content_filter", "safety", "recitation", "prohibited_content", "blocklist", "spii", "sensitive"),
        "content_filter",
    ),
    **dict.fromkeys(("tool_calls", "function_call", "tool_use"), "tool_calls"),
    "refusal": "refusal",
}
"""Reasons in small letters, without what some servers say after a colon."""
FAILURE_REASONS = {"error", "insufficient_system_resource", "network_error"}
"""Reasons that are none to end an answer: the server has failed."""
NO_REASON = ("", "none", "null", "false")
"""What servers write for none that has come."""
MAX_HIDDEN_TOKENS = 131_072
"""Tokens of thinking that are believed when the sum has them besides the answer's."""


class CompletionInterpreter:
    """What the events of one answer mean: chunks of a completion, or a whole one."""

    def __init__(self, limit: int = MAX_HIDDEN_TOKENS) -> None:
        """`limit`: tokens that were asked for, and so the most that are believed when only a sum speaks of them."""
        self.over = False
        self._limit = limit
        self._wrote = False
        self._index: Any = None
        """Of the choice that is the answer: the first one, for one was asked for."""
        self._tools = False
        """Whether a tool was called."""
        self.refuses = False
        self._in_thought = False
        """Whether the last words were thinking by Gemini's mark, whose tags stand in the text besides."""
        self._finished = False

    def feed(self, event: ProviderEvent) -> Iterator[Chunk]:
        if event.data == DONE:
            self.over = True
            yield Chunk(finish_reason=None if self._finished else self._reason("stop"))
            return
        if complaint := error_in(event.data, event.name):
            raise RequestRefused(complaint)
        if event.is_padding:
            yield Chunk()
            return
        choices = _choices(event.data.get("choices"))
        for choice in choices:
            index = choice.get("index") or 0
            self._index = index if self._index is None else self._index
            if index == self._index:
                chunk = self._chunk(choice, whole=event.whole)
                self._wrote = self._wrote or bool(chunk.text)
                yield chunk
        if usage := _usage(event.data, self._limit, wrote=self._wrote):
            yield Chunk(usage=usage)
        if event.whole:
            self.over = True
            if not choices:
                raise ProviderError(ErrorKind.BROKEN_STREAM, "a document that is no answer")

    def _chunk(self, choice: dict[str, Any], *, whole: bool) -> Chunk:
        # A few servers repeat all of it as the message beside each delta.
        said = choice.get("delta" if "delta" in choice else "message")
        said = said if isinstance(said, dict) else {}
        text, thinking = content(said.get("content"))
        if is_thought(said):
            self._in_thought = True
            text, thinking = "", text.removeprefix("<thought>").removesuffix("</thought>")
        elif self._in_thought and text:
            self._in_thought = False
            text = text.removeprefix("</thought>")
        if declines := refusal(said):
            self.refuses = True
            text += declines
        self._tools = self._tools or bool(said.get("tool_calls") or said.get("function_call"))
        self._wrote = self._wrote or bool(text)
        reason = choice.get("finish_reason")
        if str(reason).lower() in NO_REASON:
            reason = "stop" if whole else None
        return Chunk(text, self._reason(reason) if reason else None, thinking=reasoning(said) or thinking)

    def _reason(self, told: Any) -> FinishReason:
        plain = str(told).lower().partition(":")[0].strip()
        if plain in FAILURE_REASONS:
            raise RequestRefused(Complaint(ErrorKind.SERVER_ERROR, None, f"finish_reason: {plain}"))
        self._finished = True
        reason = FINISH.get(plain, "other")
        if reason != "stop":
            return reason
        return "refusal" if self.refuses else "tool_calls" if self._tools and not self._wrote else "stop"


def _choices(told: Any) -> list[dict[str, Any]]:
    """The choices that say something. An object in the place of the list is the only one."""
    choices = [told] if isinstance(told, dict) else told
    return [choice for choice in choices if choice and isinstance(choice, dict)] if isinstance(choices, list) else []


def _usage(data: Mapping[str, Any], limit: int, *, wrote: bool) -> Usage | None:
    """What the event says has been counted; Groq says it in a place of its own. Text is not made of no tokens."""
    match data:
        case (
            {"usage": dict(counted)}
            | {"x_groq": {"usage": dict(counted)}}
            | {"choices": [{"usage": dict(counted)}, *_]}
        ):
            prompt, completion = counted.get("prompt_tokens"), counted.get("completion_tokens")
            usage = believable(prompt, *_with_thinking(counted, prompt, completion, limit))
            return None if usage and wrote and not usage.completion_tokens else usage
    return None


def _with_thinking(counted: Mapping[str, Any], prompt: Any, completion: Any, limit: int) -> tuple[Any, Any]:
    """All that was written, and how much of it is thinking, which some servers count apart, and others only in the
    sum: those are believed no more than the limit that they were given."""
    details = counted.get("completion_tokens_details")
    thought = details.get("reasoning_tokens") if isinstance(details, dict) else counted.get("reasoning_tokens")
    thought = thought if type(thought) is int and thought >= 0 else 0
    total = counted.get("total_tokens")
    if not all(type(count) is int and count >= 0 for count in (prompt, completion, total)):
        return completion, thought
    hidden = total - prompt - completion
    if 0 < hidden <= (MAX_HIDDEN_TOKENS if thought else min(limit, MAX_HIDDEN_TOKENS)) and thought in (0, hidden):
        return completion + hidden, hidden
    return completion, thought
