"""Answers in the shapes that servers give them: from the bytes of a response's body to chunks."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.llm.providers.answer import Answer
from core.llm.providers.anthropic import MessageInterpreter
from core.llm.providers.base import Chunk, ErrorKind, ProviderError, Usage
from core.llm.providers.errors import RequestRefused
from core.llm.providers.openai_compatible import CompletionInterpreter
from core.llm.providers.think_tags import ThinkTags

Body = str | bytes | list[Any]


class Heard(NamedTuple):
    """What became of an answer."""

    text: str = ""
    thinking: str = ""
    reason: str | None = "stop"
    usage: Usage | None = None
    error: ErrorKind | None = None


def _bytes(body: Body, ends: str = "\n") -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    words = [event if isinstance(event, str) else json.dumps(event, ensure_ascii=False) for event in body]
    return "".join(f"data: {word}{ends}{ends}" for word in words).encode()


def _hear(answer: Answer, pieces: list[bytes]) -> Heard:
    chunks: list[Chunk] = []
    error = None

    def listen(more: Iterator[Chunk]) -> None:
        for chunk in more:
            chunks.append(chunk)

    try:
        for piece in pieces:
            listen(answer.feed(piece))
            if answer.over:
                break
        else:
            listen(answer.end())
    except RequestRefused as refused:
        error = refused.complaint.kind
    except ProviderError as broken:
        error = broken.kind
    reasons = [chunk.finish_reason for chunk in chunks if chunk.finish_reason]
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    text, thinking = "".join(chunk.text for chunk in chunks), "".join(chunk.thinking for chunk in chunks)
    return Heard(text, thinking, reasons[-1] if reasons else None, usages[-1] if usages else None, error)


def _of_openai(body: Body, tags: ThinkTags | None = None) -> Heard:
    return _hear(Answer(CompletionInterpreter(LIMIT), tags), [_bytes(body)])


def _of_anthropic(body: Body) -> Heard:
    return _hear(Answer(MessageInterpreter(), None), [_bytes(body)])


def _delta(reason: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}


def _message(reason: str | None = "stop", **message: Any) -> str:
    return json.dumps(
        {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}]}
    )


HI = _delta(content="Hi")
END = [_delta("stop"), "[DONE]"]
LIMIT = 400
"""Tokens that were asked for."""
BROKEN = ErrorKind.BROKEN_STREAM
MISTRAL = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
    {"type": "text", "text": "Hi"},
    {"type": "reference", "reference_ids": [1, 2]},
    {"type": "image_url", "image_url": "x"},
]

OPENAI: dict[str, tuple[Body, Heard]] = {
    "plain": ([HI, *END], Heard("Hi")),
    "reasoning_content": ([_delta(reasoning_content="Hm."), HI, *END], Heard("Hi", "Hm.")),
    "reasoning": ([_delta(reasoning="Hm.", content=""), HI, *END], Heard("Hi", "Hm.")),
    "both, once": ([_delta(reasoning="Hm.", reasoning_content="Hm."), HI, *END], Heard("Hi", "Hm.")),
    "null and words": ([_delta(reasoning="Hm.", reasoning_content=None), HI, *END], Heard("Hi", "Hm.")),
    "OpenRouter's details, once": (
        [_delta(reasoning="Hm.", reasoning_details=[{"type": "reasoning.text", "text": "Hm."}]), HI, *END],
        Heard("Hi", "Hm."),
    ),
    "OpenRouter's details alone": (
        [
            _delta(reasoning_details=[{"type": "reasoning.summary", "summary": "Hm."}]),
            _delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "x"}]),
            HI,
            *END,
        ],
        Heard("Hi", "Hm."),
    ),
    "thinking and text in one": ([_delta(reasoning_content="Hm.", content="Hi"), *END], Heard("Hi", "Hm.")),
    "thinking between": (
        [HI, _delta(reasoning="Hm."), _delta(content=" there"), *END],
        Heard("Hi there", "Hm."),
    ),
    "reasoning that is an object": ([_delta(reasoning={"effort": "low"}), HI, *END], Heard("Hi")),
    "LiteLLM's blocks": (
        [_delta(thinking_blocks=[{"type": "thinking", "thinking": "Hm.", "signature": None}]), HI, *END],
        Heard("Hi", "Hm."),
    ),
    "LiteLLM's fields": (
        [_delta(provider_specific_fields={"reasoning_content": "Hm."}), HI, *END],
        Heard("Hi", "Hm."),
    ),
    "Copilot's name": ([_delta(reasoning_text="Hm."), HI, *END], Heard("Hi", "Hm.")),
    "Databricks' summary": (
        [_delta(content=[{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}]), HI, *END],
        Heard("Hi", "Hm."),
    ),
    "reasoning in blocks": ([_delta(reasoning=[{"type": "text", "text": "Hm."}]), HI, *END], Heard("Hi", "Hm.")),
    "reasoning with content": ([_delta(reasoning={"content": "Hm."}), HI, *END], Heard("Hi", "Hm.")),
    "blocks and a name, once": (
        [_delta(reasoning_content="Hm.", thinking_blocks=[{"type": "thinking", "thinking": "Hm."}]), HI, *END],
        Heard("Hi", "Hm."),
    ),
    "a reason that is null in words": ([_delta("null", content="Hi"), *END], Heard("Hi")),
    "only a reason that is null in words": ([_delta("None", content="Hi")], Heard("Hi", reason=None, error=BROKEN)),
    "a tool without saying so": ([_delta(tool_calls=[{"index": 0}]), *END], Heard(reason="tool_calls")),
    "a tool beside text": ([_delta(content="Hi", tool_calls=[{"index": 0}]), *END], Heard("Hi")),
    "an empty error": ([{**HI, "error": {"code": 0, "message": ""}}, {**HI, "error": {}}, *END], Heard("HiHi")),
    "Spark's code of success": ([{"code": 0, "message": "Success", **HI}, *END], Heard("Hi")),
    "Mistral's blocks": ([_delta(content=[block]) for block in MISTRAL] + END, Heard("Hi", "Hm.")),
    "Mistral's blocks in one": ([_delta(content=MISTRAL), *END], Heard("Hi", "Hm.")),
    "a block with a text": ([_delta(content=[{"type": "new", "text": "Hi"}]), *END], Heard("Hi")),
    "a block that is null": ([_delta(content=[None, *MISTRAL]), *END], Heard("Hi", "Hm.")),
    "a choice that is null": ([{"choices": [None]}, {"choices": None}, HI, *END], Heard("Hi")),
    "an event's name without a blank": (
        b'event:x\ndata:{"choices":[{"delta":{"content":"Hi"}}]}\n\ndata:[DONE]',
        Heard("Hi"),
    ),
    "no blocks": ([_delta(content=[]), HI, *END], Heard("Hi")),
    "Gemini's thought": (
        [
            _delta(content="<thought>H", extra_content={"google": {"thought": True}}),
            _delta(content="m.", extra_content={"google": {"thought": True}}),
            _delta(content="</thought>Hi"),
            _delta(content=" </thought>"),
            *END,
        ],
        Heard("Hi </thought>", "Hm."),
    ),
    "a refusal": ([_delta(refusal="I'm "), _delta(refusal="sorry."), *END], Heard("I'm sorry.", "", "refusal")),
    "a refusal that is null": ([_delta(refusal=None, content="Hi"), *END], Heard("Hi")),
    "tools": ([_delta(tool_calls=[{"index": 0}]), _delta("tool_calls"), "[DONE]"], Heard("", "", "tool_calls")),
    "a function": ([_delta(function_call={"name": "f"}), _delta("function_call")], Heard("", "", "tool_calls")),
    "DONE is an end": ([HI, "[DONE]"], Heard("Hi")),
    "DONE without a blank": (b'data:{"choices":[{"delta":{"content":"Hi"}}]}\n\ndata:[DONE]', Heard("Hi")),
    "DONE and nothing else": (["[DONE]"], Heard("")),
    "neither end": ([HI], Heard("Hi", "", None, None, BROKEN)),
    "nothing": (b"", Heard("", "", None, None, BROKEN)),
    "blanks": (b"\r\n\r\n", Heard("", "", None, None, BROKEN)),
    "a reason that is no text": ([HI, _delta(""), *END], Heard("Hi")),
    "a reason with no delta": (
        [HI, {"choices": [{"delta": None, "finish_reason": "length"}]}],
        Heard("Hi", "", "length"),
    ),
    "Gemini's filter": ([HI, _delta("content_filter: PROHIBITED_CONTENT")], Heard("Hi", "", "content_filter")),
    "Gemini's length": ([HI, _delta("MAX_TOKENS")], Heard("Hi", "", "length")),
    "Mistral's length": ([HI, _delta("model_length")], Heard("Hi", "", "length")),
    "Ollama's load": ([_delta("load")], Heard("", "", "other")),
    "vLLM's abort": ([HI, _delta("abort")], Heard("Hi", "", "other")),
    "an error for a reason": ([HI, _delta("error")], Heard("Hi", "", None, None, ErrorKind.SERVER_ERROR)),
    "DeepSeek's resources": (
        [HI, _delta("insufficient_system_resource")],
        Heard("Hi", "", None, None, ErrorKind.SERVER_ERROR),
    ),
    "two reasons": ([HI, _delta("stop"), _delta("length"), "[DONE]"], Heard("Hi", "", "length")),
    "text with its reason": ([_delta("stop", content="Hi"), "[DONE]"], Heard("Hi")),
    "text after its reason": ([HI, _delta("stop"), _delta(content=" there"), "[DONE]"], Heard("Hi there")),
    "text after the end": ([HI, *END, _delta(content=" No!")], Heard("Hi")),
    "an error after its reason": ([HI, _delta("stop"), {"error": {"code": 500}}], Heard("Hi")),
    "nonsense after its reason": ([HI, _delta("stop"), "{"], Heard("Hi")),
    "another choice": ([HI, _delta(content="No!", index=1), _delta("length", index=1), *END], Heard("Hi")),
    "another choice, first": ([_delta(content="Yes", index=1), HI, _delta("stop", index=1), "[DONE]"], Heard("Yes")),
    "an index of its own": ([_delta(content="Hi", index=1), _delta("stop", index=1), "[DONE]"], Heard("Hi")),
    "several choices in one": (
        [{"choices": [*HI["choices"], *_delta(content="No!", index=1)["choices"]]}, *END],
        Heard("Hi"),
    ),
    "an index in a text": ([{"choices": [{"index": "0", "delta": {"content": "Hi"}}]}, *END], Heard("Hi")),
    "no index": ([{"choices": [{"delta": {"content": "Hi"}}]}, *END], Heard("Hi")),
    "Azure's first": (
        [{"choices": [], "prompt_filter_results": [{}]}, HI, {"choices": [{"content_filter_results": {}}]}, *END],
        Heard("Hi"),
    ),
    "a BOM": (b"\xef\xbb\xbf" + _bytes([HI, *END]), Heard("Hi")),
    "U+2028": (["" + json.dumps(_delta(content="a\u2028b\x85c"), ensure_ascii=False), *END], Heard("a\u2028b\x85c")),
    "several lines of data": (
        b'data: {"choices":\ndata: [{"delta": {"content":\ndata:  "Hi"}}]}\n\ndata: [DONE]\n\n',
        Heard("Hi"),
    ),
    "no blank lines": (_bytes([HI, HI, *END]).replace(b"\n\n", b"\n"), Heard("HiHi")),
    "no end of the last event": (_bytes([HI, _delta("stop")]).rstrip(), Heard("Hi")),
    "events by name": (b"id: 1\nevent: message\nretry: 5\n" + _bytes([HI, *END]), Heard("Hi")),
    "empty data": (b"data:\n\ndata: \n\nevent: ping\n\n" + _bytes([HI, *END]), Heard("Hi")),
    "an event named error": (
        b"event: error\ndata: out of memory\n\n",
        Heard("", "", None, None, ErrorKind.SERVER_ERROR),
    ),
    "an event named error, JSON": (
        b'event: error\ndata: {"code": 429, "message": "slow"}\n\n',
        Heard("", "", None, None, ErrorKind.RATE_LIMITED),
    ),
    "FastAPI's detail": (['{"detail": "model overloaded"}'], Heard("", "", None, None, ErrorKind.SERVER_ERROR)),
    "Groq's error": (
        [HI, {"choices": [], "x_groq": {"error": "over_capacity"}}],
        Heard("Hi", "", None, None, ErrorKind.RATE_LIMITED),
    ),
    "a list for an error": (
        ['[{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}]'],
        Heard("", "", None, None, ErrorKind.RATE_LIMITED),
    ),
    "all of it beside each delta": (
        [
            {"choices": [{"delta": {"content": "Hi"}, "message": {"content": "Hi"}}]},
            {"choices": [{"delta": {}, "message": {"content": "Hi"}, "finish_reason": "stop"}]},
        ],
        Heard("Hi"),
    ),
    "a reason that is a number": ([HI, {"choices": [{"delta": {}, "finish_reason": 5}]}], Heard("Hi", "", "other")),
    "a ping in words": ([{"type": "ping", "message": "still here"}, HI, *END], Heard("Hi")),
    "an error of a gateway": (
        ['{"type": "rate_limit_error", "message": "slow down"}'],
        Heard("", "", None, None, ErrorKind.RATE_LIMITED),
    ),
    "counts beside another choice": (
        [HI, {**_delta(index=1), "usage": {"prompt_tokens": 7, "completion_tokens": 11}}, *END],
        Heard("Hi", usage=Usage(7, 11)),
    ),
    "a document": (_message(content="Hi"), Heard("Hi")),
    "a document with thinking": (_message(content="Hi", reasoning_content="Hm."), Heard("Hi", "Hm.")),
    "a document of blocks": (_message(content=MISTRAL), Heard("Hi", "Hm.")),
    "a document without a reason": (_message(None, content="Hi"), Heard("Hi")),
    "a document that is cut short": (_message("length", content="Hi"), Heard("Hi", "", "length")),
    "a document, refused": (_message(content=None, refusal="No."), Heard("No.", "", "refusal")),
    "a document, indented": ("\ufeff\n  " + json.dumps(json.loads(_message(content="Hi")), indent=2), Heard("Hi")),
    "a document that is an error": ('{"error": {"code": "429"}}', Heard("", "", None, None, ErrorKind.RATE_LIMITED)),
    "a document that is Gemini's error": (
        '[{"error": {"code": 403, "message": "no"}}]',
        Heard("", "", None, None, ErrorKind.UNAUTHORIZED),
    ),
    "a document that is nothing": ("{}", Heard("", "", None, None, BROKEN)),
    "a document without choices": ('{"choices": []}', Heard("", "", None, None, BROKEN)),
    "a web page": ("<!DOCTYPE html><html>", Heard("", "", None, None, BROKEN)),
}  # fmt: skip


@pytest.mark.parametrize("name", OPENAI)
def test_openai_is_understood(name: str) -> None:
    body, heard = OPENAI[name]
    assert _of_openai(body) == heard


COUNTS: dict[str, tuple[dict[str, Any], Usage | None]] = {
    "plain": ({"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18}, Usage(7, 11)),
    "thinking within": (
        {"prompt_tokens": 7, "completion_tokens": 11, "completion_tokens_details": {"reasoning_tokens": 4}},
        Usage(7, 11, 4),
    ),
    "thinking beside": (
        {
            "prompt_tokens": 7,
            "completion_tokens": 11,
            "completion_tokens_details": {"reasoning_tokens": 4},
            "total_tokens": 22,
        },
        Usage(7, 15, 4),
    ),
    "thinking in the sum": ({"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 30}, Usage(7, 23, 12)),
    "more in the sum than was asked for": (
        {"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 7 + 11 + 401},
        Usage(7, 11),
    ),
    "no tokens for a text": ({"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}, None),
    "an absurd sum": ({"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 10**9}, Usage(7, 11)),
    "thinking of its own name": (
        {"prompt_tokens": 7, "completion_tokens": 11, "reasoning_tokens": 3},
        Usage(7, 11, 3),
    ),
    "more thinking than words": (
        {"prompt_tokens": 7, "completion_tokens": 11, "completion_tokens_details": {"reasoning_tokens": 99}},
        Usage(7, 11),
    ),
    "details that are null": (
        {"prompt_tokens": 7, "completion_tokens": 11, "completion_tokens_details": None},
        Usage(7, 11),
    ),
    "negative": ({"prompt_tokens": 7, "completion_tokens": -11}, None),
    "a float": ({"prompt_tokens": 7, "completion_tokens": 11.5}, None),
    "a text": ({"prompt_tokens": "7", "completion_tokens": "11"}, None),
    "billions": ({"prompt_tokens": 7, "completion_tokens": 10**30}, None),
    "true": ({"prompt_tokens": True, "completion_tokens": 11}, None),
    "half": ({"prompt_tokens": 7}, None),
    "null": ({"prompt_tokens": None, "completion_tokens": None}, None),
    "a sum in words": ({"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": "many"}, Usage(7, 11)),
}


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize(
    "place",
    [
        lambda counted: {"choices": [], "usage": counted},
        lambda counted: {"choices": [], "x_groq": {"usage": counted}},
        lambda counted: {"choices": [{"index": 0, "delta": {}, "usage": counted}]},
    ],
    ids=["usage", "x_groq", "choice"],
)
def test_counts_are_believed_as_far_as_they_can_be(name: str, place: Callable[[Any], Any]) -> None:
    counted, usage = COUNTS[name]
    assert _of_openai([HI, place(counted), *END]) == Heard("Hi", usage=usage)


@pytest.mark.parametrize("counted", [5, "5", [], [1], None, "1e999", {"prompt_tokens": {}}])
def test_counts_that_are_none_break_nothing(counted: Any) -> None:
    assert _of_openai([HI, {"choices": [], "usage": counted}, *END]) == Heard("Hi")


def test_a_number_of_any_length_breaks_nothing() -> None:
    digits = "9" * 5000
    event = '{"choices": [], "usage": {"prompt_tokens": ' + digits + ', "completion_tokens": 1}, "n": NaN}'
    assert _of_openai([HI, event, *END]) == Heard("Hi")


def test_the_last_counts_hold() -> None:
    counts = [{**HI, "usage": {"prompt_tokens": 7, "completion_tokens": n}} for n in range(1, 4)]
    assert _of_openai([*counts, *END]) == Heard("HiHiHi", usage=Usage(7, 3))


def _event(type_: str, **more: Any) -> dict[str, Any]:
    return {"type": type_, **more}


def _block(index: int, **delta: Any) -> dict[str, Any]:
    return _event("content_block_delta", index=index, delta=delta)


START = _event("message_start", message={"usage": {"input_tokens": 7, "output_tokens": 1}})
TEXT = _block(1, type="text_delta", text="Hi")


def _stop(reason: str | None, **usage: Any) -> list[Any]:
    return [_event("message_delta", delta={"stop_reason": reason}, usage=usage), _event("message_stop")]


ANTHROPIC: dict[str, tuple[Body, Heard]] = {
    "thinking": (
        [
            START,
            _event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}),
            _block(0, type="thinking_delta", thinking="Hm."),
            _block(0, type="signature_delta", signature="x"),
            _event("content_block_start", index=2, content_block={"type": "redacted_thinking", "data": "x"}),
            TEXT,
            *_stop("end_turn", output_tokens=11),
        ],
        Heard("Hi", "Hm.", usage=Usage(7, 11)),
    ),
    "tools": ([START, *_stop("tool_use", output_tokens=3)], Heard("", "", "tool_calls", Usage(7, 3))),
    "a refusal": ([START, TEXT, *_stop("refusal")], Heard("Hi", "", "content_filter", Usage(7, 1))),
    "the window": ([START, TEXT, *_stop("model_context_window_exceeded")], Heard("Hi", "", "length", Usage(7, 1))),
    "no reason": ([START, TEXT, *_stop(None)], Heard("Hi", "", "stop", Usage(7, 1))),
    "no stop": ([START, TEXT, _stop("end_turn")[0]], Heard("Hi", "", "stop", Usage(7, 1))),
    "no end": ([START, TEXT], Heard("Hi", "", None, None, BROKEN)),
    "no counts": ([_event("message_start", message={}), TEXT, *_stop("end_turn")], Heard("Hi")),
    "absurd counts": (
        [START, TEXT, *_stop("end_turn", output_tokens=-5, input_tokens="7", cache_read_input_tokens=1.5)],
        Heard("Hi", usage=Usage(7, 1)),
    ),
    "counts that are null": (
        [_event("message_start", message={"usage": None}), TEXT, _event("message_delta", delta={"stop_reason": "x"})],
        Heard("Hi", "", "other"),
    ),
    "overloaded": (
        [START, TEXT, _event("error", error={"type": "overloaded_error", "message": "Overloaded"})],
        Heard("Hi", "", None, None, ErrorKind.RATE_LIMITED),
    ),
    "a new error": (
        [START, _event("error", error={"type": "whim_error", "message": "x"})],
        Heard("", "", None, None, ErrorKind.SERVER_ERROR),
    ),
    "a document": (
        json.dumps(
            {
                "type": "message",
                "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hi"}],
                "stop_reason": "max_tokens",
                "usage": {"input_tokens": 7, "output_tokens": 11},
            }
        ),
        Heard("Hi", "Hm.", "length", Usage(7, 11)),
    ),
    "a document that is an error": (
        '{"type": "error", "error": {"type": "authentication_error", "message": "x"}}',
        Heard("", "", None, None, ErrorKind.UNAUTHORIZED),
    ),
    "a document of another protocol": (_message(content="Hi"), Heard("", "", None, None, BROKEN)),
}  # fmt: skip


@pytest.mark.parametrize("name", ANTHROPIC)
def test_anthropic_is_understood(name: str) -> None:
    body, heard = ANTHROPIC[name]
    assert _of_anthropic(body) == heard


@pytest.mark.parametrize(
    "piece",
    [b": OPENROUTER PROCESSING\n\n", b": keep-alive\n", b"\n", b"event: ping\n", b'data: {"choi', b"data: {}\n\n"],
)
def test_whatever_comes_is_a_sign_of_life(piece: bytes) -> None:
    answer = Answer(CompletionInterpreter(), None)
    for _ in range(3):
        chunks = list(answer.feed(piece))
        assert chunks
        assert all(chunk == Chunk() for chunk in chunks)


TAGGED: dict[str, tuple[str, str, str]] = {
    "a thought": ("<think>Hm.</think>Hi", "Hi", "Hm."),
    "blank lines": ("\n<think>\nHm.\n</think>\n\nHi", "Hi", "Hm.\n"),
    "no thought": ("<think>\n\n</think>\n\nHi", "Hi", ""),
    "none": ("Hi <think>there</think>", "Hi <think>there</think>", ""),
    "nearly one": ("<thin air>", "<thin air>", ""),
    "half a tag": ("<thi", "<thi", ""),
    "never closed": ("<think>Hm. </thin", "", "Hm. </thin"),
    "of others": ("<thought>Hm.</thought>Hi", "Hi", "Hm."),
    "a second one": ("<think>Hm.</think>Hi <think>there</think>", "Hi <think>there</think>", "Hm."),
    "a tag of another": ("<think>Hm. </thought></think>Hi", "Hi", "Hm. </thought>"),
    "Magistral's": ("[THINK]Hm.[/THINK]Hi", "Hi", "Hm."),
    "Seed's": ("<seed:think>Hm.</seed:think>Hi", "Hi", "Hm."),
    "of reasoning": ("<reasoning>Hm.</reasoning>\n\nHi", "Hi", "Hm."),
    "in capitals": ("<THINK>Hm.</Think>Hi", "Hi", "Hm."),
    "gpt-oss's": (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi",
        "Hi",
        "Hm.",
    ),
    "behind what can't be seen": ("\u200b\n<think>Hm.</think>Hi", "Hi", "Hm."),
    "two in a row": ("<think>a</think><think>b</think>Hi", "Hi", "ab"),
    "an empty one first": ("<think>\n\n</think>\n\n<think>b</think>\n\nHi", "Hi", "b"),
    "only the end of one": ("</think>\n\nHi", "Hi", ""),
    "nearly another": ("<think>a</think><thi", "<thi", "a"),
    "nothing": ("", "", ""),
}
OPENED: dict[str, tuple[str, str, str]] = {
    "a thought": ("Hm.</think>\n\nHi", "Hi", "Hm."),
    "opened all the same": ("<think>\nHm.</think>Hi", "Hi", "Hm."),
    "less than": ("a < b</think>Hi", "Hi", "a < b"),
    "never closed": ("Hm.", "Hm.", "Hm."),
    "closed at once": ("</think>Hi", "Hi", ""),
}


@pytest.mark.parametrize(
    ("opened", "case"),
    [
        *(pytest.param(False, case, id=name) for name, case in TAGGED.items()),
        *(pytest.param(True, case, id=f"opened, {name}") for name, case in OPENED.items()),
    ],
)
def test_tags_are_taken_apart_wherever_they_are_cut(opened: bool, case: tuple[str, str, str]) -> None:
    said, text, thinking = case
    for size in range(1, len(said) + 2):
        parts = [_delta(content=said[at : at + size]) for at in range(0, len(said), size)]
        assert _of_openai([*parts, *END], ThinkTags(opened=opened)) == Heard(text, thinking)


def test_tags_are_looked_for_in_documents_too() -> None:
    assert _of_openai(_message(content="<think>Hm.</think>Hi"), ThinkTags()) == Heard("Hi", "Hm.")


def test_a_server_that_takes_thinking_out_itself_needs_no_tags() -> None:
    body = [_delta(reasoning_content="Hm."), _delta(content="Hi"), *END]
    assert _of_openai(body, ThinkTags(opened=True)) == Heard("Hi", "Hm.")


@pytest.mark.parametrize("text", ["Hi", "</think>\n\nHi", "<think>Hm.</think>Hi", "<think>\nHm.\n</think>\n\nHi"])
@pytest.mark.parametrize("tags", [lambda: None, ThinkTags, lambda: ThinkTags(opened=True)])
def test_what_a_server_has_left_of_thinking_in_the_text_is_not_told_again(
    text: str, tags: Callable[[], ThinkTags | None]
) -> None:
    for size in range(1, len(text) + 1):
        parts = [_delta(content=text[at : at + size]) for at in range(0, len(text), size)]
        assert _of_openai([_delta(reasoning_content="Hm."), *parts, *END], tags()) == Heard("Hi", "Hm.")
    assert _of_openai([_delta(reasoning_content="Hm.", content=text), *END], tags()) == Heard("Hi", "Hm.")


def test_thinking_without_a_tag_that_ends_at_the_limit_stays_thinking() -> None:
    body = [_delta(content="Hm."), _delta("length"), "[DONE]"]
    assert _of_openai(body, ThinkTags(opened=True)) == Heard("", "Hm.", "length")


def test_words_that_decline_are_no_thinking() -> None:
    body = [_delta(content="<think>Hm."), _delta(refusal="No."), _delta("stop"), "[DONE]"]
    assert _of_openai(body, ThinkTags()) == Heard("No.", "Hm.", "refusal")


def test_thinking_that_breaks_off_is_told() -> None:
    heard = _of_openai([_delta(content="<think>Hm. </th")], ThinkTags())
    assert heard == Heard("", "Hm. </th", None, None, BROKEN)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_bytes_of_any_kind_are_chunks_or_an_error(kind: str) -> None:
    bodies = [_bytes(body) for body, _ in (OPENAI if kind == "openai" else ANTHROPIC).values()]

    @settings(max_examples=300, deadline=None)
    @given(
        st.sampled_from(bodies),
        st.sets(st.integers(0, 400), max_size=6),
        st.lists(
            st.tuples(st.integers(0, 400), st.sampled_from([b"", b"\n", b"0", b"null", b'"x"', b"[", b"{}", b"\xff"]))
        ),
    )
    def check(body: bytes, cuts: set[int], changes: list[tuple[int, bytes]]) -> None:
        for at, change in changes:
            body = body[:at] + change + body[at + 1 :]
        places = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
        answer = Answer(CompletionInterpreter() if kind == "openai" else MessageInterpreter(), ThinkTags(), " ")
        heard = _hear(answer, [body[start:end] for start, end in pairwise(places)])
        assert heard.error is not None or heard.reason is not None

    check()
