"""How the test's model server says one thing in each of the wire protocols."""

import json
from typing import Any, Protocol


class Dialect(Protocol):
    """A protocol, as the server speaks it. Every method returns what goes over the wire."""

    path: str
    """What the URL of a question ends with."""

    def event(self, data: str) -> str:
        """An event with this data, whether it is JSON or not."""
        ...

    def opening(self) -> str:
        """What comes before the first text."""
        ...

    def piece(self, text: str | None, index: int = 0) -> str:
        """Text of the answer, or of another one that was not asked for."""
        ...

    def thinking(self, text: str) -> str:
        """What the model says to itself."""
        ...

    def thought(self, text: str) -> str:
        """What is not part of the answer: reasoning, and a call of a tool."""
        ...

    def closing(self, reason: str, *, usage: bool) -> str:
        """The end, for one of our own reasons."""
        ...

    def failure(self, message: str, *, overloaded: bool) -> str:
        """An error in the middle of the answer."""
        ...


class OpenAIDialect:
    """Chat completions."""

    path = "/chat/completions"

    def event(self, data: str) -> str:
        return f"data: {data}\n\n"

    def opening(self) -> str:
        return self._choice({"role": "assistant", "content": None})

    def piece(self, text: str | None, index: int = 0) -> str:
        return self._choice({"content": text}, index=index)

    def thinking(self, text: str) -> str:
        return self._choice({"content": None, "reasoning_content": text})

    def thought(self, text: str) -> str:
        call = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": json.dumps(text)}}
        return (
            self._choice({"reasoning_content": text})
            + self._choice({"content": None, "reasoning": text})
            + self._choice({"tool_calls": [call]})
        )

    def closing(self, reason: str, *, usage: bool) -> str:
        counted = {"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18}
        reported = self._chunk(choices=[], usage=counted) if usage else ""
        return self._choice({}, reason) + reported + self.event("[DONE]")

    def failure(self, message: str, *, overloaded: bool) -> str:
        return self.event(json.dumps({"error": {"message": message, "code": 429 if overloaded else 500}}))

    def _choice(self, delta: dict[str, Any], reason: str | None = None, index: int = 0) -> str:
        return self._chunk(choices=[{"index": index, "delta": delta, "finish_reason": reason}], usage=None)

    def _chunk(self, **more: Any) -> str:
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **more}
        return self.event(json.dumps(chunk, ensure_ascii=False))


class AnthropicDialect:
    """Messages. The answer is the block 1, after a thought."""

    path = "/messages"

    def event(self, data: str) -> str:
        return f"event: content_block_delta\ndata: {data}\n\n"

    def opening(self) -> str:
        usage = {
            "input_tokens": 2,
            "cache_creation_input_tokens": 4,
            "cache_read_input_tokens": 1,
            "output_tokens": 1,
        }
        message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m", "usage": usage}
        return (
            self._event("message_start", message=message)
            + self._event("content_block_start", index=1, content_block={"type": "text", "text": ""})
            + self._event("ping")
        )

    def piece(self, text: str | None, index: int = 0) -> str:
        return self._delta({"type": "text_delta", "text": text}, index + 1)

    def thinking(self, text: str) -> str:
        return self._delta({"type": "thinking_delta", "thinking": text}, 0)

    def thought(self, text: str) -> str:
        return (
            self._event("content_block_start", index=0, content_block={"type": "thinking", "thinking": text})
            + self._delta({"type": "thinking_delta", "thinking": text}, 0)
            + self._delta({"type": "signature_delta", "signature": text}, 0)
            + self._event("content_block_stop", index=0)
            + self._event("content_block_start", index=2, content_block={"type": "tool_use", "id": "t", "name": "f"})
            + self._delta({"type": "input_json_delta", "partial_json": json.dumps(text)}, 2)
            + self._delta({"type": "not_invented_yet_delta", "text": text}, 2)
            + self._event("not_invented_yet", text=text)
        )

    def closing(self, reason: str, *, usage: bool) -> str:
        words = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
        delta = {"stop_reason": words.get(reason, reason), "stop_sequence": None}
        reported = {"usage": {"output_tokens": 11}} if usage else {}
        return (
            self._event("content_block_stop", index=1)
            + self._event("message_delta", delta=delta, **reported)
            + self._event("message_stop")
        )

    def failure(self, message: str, *, overloaded: bool) -> str:
        kind = "overloaded_error" if overloaded else "api_error"
        return self._event("error", error={"type": kind, "message": message})

    def _delta(self, delta: dict[str, Any], index: int) -> str:
        return self._event("content_block_delta", index=index, delta=delta)

    def _event(self, kind: str, **more: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **more}, ensure_ascii=False)}\n\n"


DIALECTS: dict[str, Dialect] = {"openai": OpenAIDialect(), "anthropic": AnthropicDialect()}
