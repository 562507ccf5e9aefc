"""The OpenAI wire protocol, its chat completions: OpenAI and most other servers, each in a form of its own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.model_config import ModelConfig
from core.providers import Chunk, ErrorKind, FinishReason, ProviderError, Turn, Usage, believable
from core.providers.answer import Interpreter
from core.providers.errors import Complaint, Refused, error_in
from core.providers.events import DONE, Event

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

    def parameters(self, limit: int) -> dict[str, Any]:
        """What a request has besides the conversation; `limit`: tokens of the answer and its thinking."""
        config = self._config
        wanted = {"temperature": config.temperature, "reasoning_effort": config.reasoning_effort}
        return {
            self._limit: limit,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in wanted.items() if value is not None},
        }

    def conversation(self, turns: Sequence[Turn]) -> dict[str, Any]:
        """The turns as they are."""
        return {"messages": [{"role": turn.role, "content": turn.text} for turn in turns]}

    def interpreter(self, turns: Sequence[Turn]) -> Interpreter:
        """For the answer to these turns."""
        return Completion()


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
FAILED = {"error", "insufficient_system_resource", "network_error"}
"""Reasons that are none to end an answer: the server has failed."""
MOST_HIDDEN = 131_072
"""Tokens of thinking that are believed when only the sum speaks of them."""


class Completion:
    """What the events of one answer mean: chunks of a completion, or a whole one."""

    def __init__(self) -> None:
        self.over = False
        self._refuses = False
        self._in_thought = False
        """Whether the last words were thinking by Gemini's mark, whose tags stand in the text besides."""
        self._finished = False

    def feed(self, event: Event) -> Iterator[Chunk]:
        if event.data == DONE:
            self.over = True
            yield Chunk(finish_reason=None if self._finished else self._reason("stop"))
            return
        if complaint := error_in(event.data, event.name):
            raise Refused(complaint)
        yield Chunk(usage=_usage(event.data))
        choices = event.data.get("choices")
        for choice in choices or ():
            if choice.get("index") in (None, 0, "0"):  # one answer was asked for
                yield self._chunk(choice, whole=event.whole)
        if event.whole:
            self.over = True
            if not choices:
                raise ProviderError(ErrorKind.BROKEN_STREAM, "a document that is no answer")

    def _chunk(self, choice: dict[str, Any], *, whole: bool) -> Chunk:
        said = choice.get("delta") or choice.get("message") or {}
        text, thinking = content(said.get("content"))
        if _is_thought(said):
            self._in_thought = True
            text, thinking = "", text.removeprefix("<thought>").removesuffix("</thought>")
        elif self._in_thought and text:
            self._in_thought = False
            text = text.removeprefix("</thought>")
        if refusal := said.get("refusal"):
            self._refuses = True
            text += _text(refusal)
        reason = choice.get("finish_reason") or ("stop" if whole else None)
        return Chunk(text, self._reason(reason) if reason else None, thinking=_reasoning(said) or thinking)

    def _reason(self, told: str) -> FinishReason:
        plain = told.lower().partition(":")[0].strip()
        if plain in FAILED:
            raise Refused(Complaint(ErrorKind.SERVER_ERROR, None, f"finish_reason: {plain}"))
        self._finished = True
        reason = FINISH.get(plain, "other")
        return "refusal" if self._refuses and reason == "stop" else reason


def content(value: Any) -> tuple[str, str]:
    """The text and the thinking in a message's content: a text, or blocks of several types.

    Raises TypeError for what is neither.
    """
    if value is None or isinstance(value, str):
        return value or "", ""
    text, thinking = "", ""
    if not isinstance(value, list):
        raise TypeError("neither a text nor blocks")
    for block in value:
        match block:
            case {"type": "thinking" | "reasoning", "thinking": inner} | {
                "type": "thinking" | "reasoning",
                "text": inner,
            }:
                thinking += content(inner)[0]
            case {"text": str(words)}:
                text += words
            case {"type": str()}:
                pass
            case _:
                raise TypeError("not a block")
    return text, thinking


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _reasoning(said: Mapping[str, Any]) -> str:
    """The thinking beside the content. Servers give it under several names, and the same words under two of them."""
    for name in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(words := said.get(name), str) and words:
            return words
    details = said.get("reasoning_details")
    found = [each.get("text") or each.get("summary") for each in details or () if isinstance(each, dict)]
    return "".join(words for words in found if isinstance(words, str))


def _is_thought(said: Mapping[str, Any]) -> bool:
    """Whether Gemini says that the content is thinking."""
    match said.get("extra_content"):
        case {"google": {"thought": True}}:
            return True
    return False


def _usage(data: Mapping[str, Any]) -> Usage | None:
    """What the event says has been counted; Groq says it in a place of its own."""
    match data:
        case (
            {"usage": dict(counted)}
            | {"x_groq": {"usage": dict(counted)}}
            | {"choices": [{"usage": dict(counted)}, *_]}
        ):
            prompt, completion = counted.get("prompt_tokens"), counted.get("completion_tokens")
            return believable(prompt, *_with_thinking(counted, prompt, completion))
    return None


def _with_thinking(counted: Mapping[str, Any], prompt: Any, completion: Any) -> tuple[Any, Any]:
    """All that was written, and how much of it is thinking, which some servers count apart, and others only in the
    sum."""
    details = counted.get("completion_tokens_details")
    thought = details.get("reasoning_tokens") if isinstance(details, dict) else counted.get("reasoning_tokens")
    thought = thought if type(thought) is int and thought >= 0 else 0
    total = counted.get("total_tokens")
    if not all(type(count) is int and count >= 0 for count in (prompt, completion, total)):
        return completion, thought
    hidden = total - prompt - completion
    if 0 < hidden <= MOST_HIDDEN and thought in (0, hidden):
        return completion + hidden, hidden
    return completion, thought
