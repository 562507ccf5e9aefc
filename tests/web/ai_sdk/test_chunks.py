"""Events as chunks: a table of whole answers, and what holds for every sequence of events."""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.conversation.message import Message
from core.conversation.position import Position
from web.ai_sdk.chunks import NOTHING, Answer, Chunk, Parts, tell, tell_at_once, ui_message
from web.ai_sdk.wire import DONE, UIMessageWire
from web.streaming.wire import Broken

GENERATION = uuid4()
ABOUT = Answer("s", str(GENERATION), "deep")
START: Chunk = {
    "type": "start",
    "messageId": str(GENERATION),
    "messageMetadata": {"session_id": "s", "model": "deep"},
}
QUEUE: Chunk = {"type": "data-queue", "id": "queue", "data": {"position": 0}, "transient": True}
STEP: Chunk = {"type": "start-step"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 5}
FINISH: Chunk = {
    "type": "finish",
    "finishReason": "stop",
    "messageMetadata": {"model": "deep", "usage": USAGE, "finish_reason": "stop"},
}
STOPPED: list[Chunk] = [
    {"type": "abort", "reason": "stopped"},
    {"type": "finish", "messageMetadata": {"finish_reason": "stopped"}},
]

Event = tuple[str, Mapping[str, Any]]
queued: Event = ("queued", {"position": 0})
started: Event = ("started", {"model": "deep", "attempt": 1})
done: Event = ("done", {"model": "deep", "finish_reason": "stop", "usage": USAGE, "length": 2})


def _thought(at: int, text: str) -> Event:
    return "thinking", {"at": at, "text": text}


def _said(at: int, text: str) -> Event:
    return "delta", {"at": at, "text": text}


def _text(kind: str, text: str | None = None, part: str = "text", part_id: str = "t") -> Chunk:
    chunk = {"type": f"{part}-{kind}", "id": part_id}
    return chunk if text is None else {**chunk, "delta": text}


def _reasoning(kind: str, text: str | None = None, part_id: str = "r") -> Chunk:
    return _text(kind, text, "reasoning", part_id)


def _second_thought(words: str) -> list[Chunk]:
    return [_reasoning("start", part_id="r2"), _reasoning("delta", words, "r2"), _reasoning("end", part_id="r2")]


CASES: dict[str, tuple[list[Event], list[Chunk]]] = {
    "an answer": (
        [queued, ("queued", {"position": 1}), started, _said(0, "H"), _said(1, "i"), done],
        [
            *(START, QUEUE, {**QUEUE, "data": {"position": 1}}, STEP),
            *(_text("start"), _text("delta", "H"), _text("delta", "i"), _text("end")),
            *({"type": "finish-step"}, FINISH),
        ],
    ),
    "thoughts, words, and thoughts between": (
        [queued, started, _thought(0, "a"), _thought(1, "b"), _said(0, "H"), _thought(2, "c"), _said(1, "i"), done],
        [
            *(START, QUEUE, STEP, _reasoning("start"), _reasoning("delta", "a"), _reasoning("delta", "b")),
            *(_reasoning("end"), _text("start"), _text("delta", "H")),
            *(*_second_thought("c"), _text("delta", "i")),
            *(_text("end"), {"type": "finish-step"}, FINISH),
        ],
    ),
    "thinking that begins again with another model": (
        [
            *(queued, started, _thought(0, "a")),
            ("fallback", {"generation_id": "g", "from": "x", "to": "deep", "reason": "overloaded", "thinking": 0}),
            *(_thought(0, "b"), _thought(0, ""), _said(0, "Hi"), done),
        ],
        [
            *(START, QUEUE, STEP, _reasoning("start"), _reasoning("delta", "a"), _reasoning("end")),
            {"type": "data-fallback", "data": {"from": "x", "to": "deep", "reason": "overloaded"}},
            *_second_thought("b"),
            *(_text("start"), _text("delta", "Hi"), _text("end"), {"type": "finish-step"}, FINISH),
        ],
    ),
    "another model, for the one that was asked rests": (
        [
            *(queued, started, _said(0, "Hi")),
            (done[0], {**done[1], "fallback": {"from": "x", "to": "deep", "reason": "resting", "at": 0}}),
        ],
        [
            *(START, QUEUE, STEP, _text("start"), _text("delta", "Hi")),
            {"type": "data-fallback", "data": {"from": "x", "to": "deep", "reason": "resting"}},
            *(_text("end"), {"type": "finish-step"}, FINISH),
        ],
    ),
    "another worker, and another model by hand": (
        [
            *(queued, started, _said(0, "H")),
            ("resumed", {"attempt": 2, "at": 1, "thinking": 0}),
            ("handover", {"from": "deep", "to": "wide", "at": 1}),
            *(_said(1, "i"), done),
        ],
        [
            *(START, QUEUE, STEP, _text("start"), _text("delta", "H")),
            {"type": "data-handover", "data": {"from": "deep", "to": "wide", "at": 1}},
            *(_text("delta", "i"), _text("end"), {"type": "finish-step"}, FINISH),
        ],
    ),
    "stopped in the middle": (
        [queued, started, _thought(0, "a"), ("stopped", {"length": 0})],
        [
            *(START, QUEUE, STEP, _reasoning("start"), _reasoning("delta", "a"), _reasoning("end")),
            *({"type": "finish-step"}, *STOPPED),
        ],
    ),
    "stopped in the queue": ([queued, ("stopped", {"length": 0})], [START, QUEUE, *STOPPED]),
    "failed": (
        [queued, started, _said(0, "H"), ("failed", {"problem": {"title": "No", "detail": "It broke."}})],
        [
            *(START, QUEUE, STEP, _text("start"), _text("delta", "H")),
            {"type": "error", "errorText": "It broke."},
            {"type": "finish", "finishReason": "error"},
        ],
    ),
    "events that the clients have no use for": ([queued, ("block", {"upto": 1, "html": "<p>"})], [START, QUEUE]),
}


def _told(events: Iterable[Event]) -> list[Chunk]:
    parts, chunks = NOTHING, []
    for kind, data in events:
        parts, told = tell(parts, kind, data, ABOUT)
        chunks += told
    return chunks


@pytest.mark.parametrize("case", CASES)
def test_an_answer_is_told_in_chunks(case: str) -> None:
    events, chunks = CASES[case]
    assert _told(events) == chunks


@pytest.mark.parametrize(
    ("ours", "theirs"), [("length", "length"), ("content_filter", "content-filter"), ("refusal", "other")]
)
def test_reasons_are_named_as_the_clients_have_them(ours: str, theirs: str) -> None:
    _, (finish,) = tell(Parts(begun=True), "done", {"model": "deep", "finish_reason": ours}, ABOUT)
    assert (finish["finishReason"], finish["messageMetadata"]["finish_reason"]) == (theirs, ours)


words = st.text(min_size=1, max_size=3)
between = st.one_of(
    st.tuples(st.just("delta"), words, st.just(1)),
    st.tuples(st.just("thinking"), words, st.integers(0, 1)),
    st.tuples(st.just("resumed"), st.just(""), st.integers(0, 1)),
    st.tuples(st.just("started"), st.just(""), st.just(0)),
)


@settings(deadline=None)
@given(st.lists(between, max_size=12), st.sampled_from(["done", "stopped", "failed"]))
def test_a_clients_rules_hold_for_every_answer(middle: list[tuple[str, str, int]], end: str) -> None:
    """Those of `ai`: words only in a part that has begun, no part begun twice, none left open but by a failure; and
    of `@ai-sdk/workflow`: no id of a part comes again."""
    ends: dict[str, Event] = {
        "done": done,
        "stopped": ("stopped", {}),
        "failed": ("failed", {"problem": {"title": "No"}}),
    }
    events = [queued, *((kind, {"at": at, "text": text, "thinking": at}) for kind, text, at in middle), ends[end]]
    chunks = _told(events)
    begun = [chunk["id"] for chunk in chunks if chunk["type"] in ("text-start", "reasoning-start")]
    assert len(begun) == len(set(begun))
    live: set[str] = set()
    shown = ""
    for chunk in chunks:
        part, _, what = chunk["type"].rpartition("-")
        match what, part:
            case "start", "text" | "reasoning":
                assert part not in live
                live.add(part)
            case "delta", _:
                assert part in live
                shown += chunk["delta"] if part == "text" else ""
            case "end", _:
                live.remove(part)
            case "step", "finish":
                assert not live
    assert shown == "".join(text for kind, text, _ in middle if kind == "delta")
    assert end == "failed" or not live
    assert [chunk["type"] for chunk in chunks].count("finish") == 1
    assert chunks[-1]["type"] == "finish"
    # What was cut off anywhere goes on exactly there.
    for at in range(len(chunks) + 2):
        wire = UIMessageWire(GENERATION, ABOUT, skip=at)
        told = b"".join(wire.tell(kind, _data(data), Position("e", 1)) for kind, data in events)
        assert told.endswith(DONE)
        rest = [json.loads(frame.removeprefix("data: ")) for frame in told.decode().split("\n\n")[:-2]]
        assert rest == (chunks[at:] or [{"type": "finish"}])


def _data(fields: Mapping[str, Any]) -> str:
    return json.dumps({"generation_id": str(GENERATION), **fields}, separators=(",", ":"))


def test_what_there_is_of_an_answer_is_told_at_once_and_goes_on() -> None:
    written = Message(str(GENERATION), "assistant", "Hi", "deep", "streaming", "2026-11-27T00:00:00Z", thinking="a")
    parts, chunks = tell_at_once(written, ABOUT)
    assert [chunk["type"] for chunk in chunks] == [
        *("start", "start-step", "reasoning-start", "reasoning-delta", "reasoning-end", "text-start", "text-delta")
    ]
    assert tell(parts, "delta", {"at": 2, "text": "!"}, ABOUT).chunks == [_text("delta", "!")]
    assert tell(parts, *started, ABOUT).chunks == []


def test_a_stream_breaks_rather_than_end_or_go_on_with_something_else() -> None:
    wire = UIMessageWire(GENERATION, ABOUT)
    assert wire.tell("delta", '{"generation_id":"another","at":0,"text":"x"}', Position("e", 1)) == b""
    for break_off in (
        lambda: wire.tell("reset", "{}", Position("e", 2)),
        lambda: wire.reset("log-lost", None),
        lambda: wire.expire(b""),
        wire.leave,
    ):
        with pytest.raises(Broken):
            break_off()


def test_messages_as_the_clients_keep_them() -> None:
    message = Message("a", "assistant", "Hi", "deep", "complete", "2026-11-27T00:00:00Z", thinking="Hm")
    assert ui_message(message, "s") == {
        "id": "a",
        "role": "assistant",
        "parts": [
            {"type": "step-start"},
            {"type": "reasoning", "text": "Hm", "state": "done"},
            {"type": "text", "text": "Hi", "state": "done"},
        ],
        "metadata": {
            "session_id": "s",
            "model": "deep",
            "state": "complete",
            "created_at": "2026-11-27T00:00:00Z",
        },
    }
