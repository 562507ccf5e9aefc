"""The arithmetic of a response's stream, and the question in a request."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidBody
from web.api.openai.response_events import (
    HEAD,
    TAIL,
    Described,
    first_number,
    head,
    last_number,
    message,
    middle,
    numbered,
    part,
    place_to_read_from,
    tail,
)
from web.api.openai.response_input import Question, question_of

DESCRIBED = Described({"id": "resp_1", "status": "queued", "output": []}, "msg_1")
KINDS = ("queued", "started", "delta", "thinking", "fallback", "resumed", "handover", "block", "model", "branch")


def _told(log: list[tuple[str, str]], after: int = -1) -> list[dict[str, Any]]:
    """What a client is sent that has had the event of that number: a reader, without Redis and HTTP."""
    text = "".join(words for kind, words in log if kind == "delta")
    ended = {**DESCRIBED.response, "status": "completed", "output": [message("msg_1", text, "completed")]}
    told = []
    for place in range(place_to_read_from(after), len(log) + 1):
        kind, words = log[place - 1]
        if place == 1:
            events = head(DESCRIBED)
        elif kind == "done":
            events = tail(DESCRIBED, ended)
        else:
            events = iter([middle(DESCRIBED, kind, {"text": words})])
        told += [each for each in numbered(events, first_number(place)) if each["sequence_number"] > after]
    return told


LOGS = st.lists(st.tuples(st.sampled_from(KINDS), st.text(max_size=5)), max_size=30).map(
    lambda between: [("queued", ""), *between, ("done", "")]
)


@given(LOGS, st.data())
def test_a_stream_that_was_cut_anywhere_goes_on_exactly(log: list[tuple[str, str]], data: st.DataObject) -> None:
    whole = _told(log)
    assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
    assert len(whole) == HEAD + len(log) - 2 + TAIL == last_number(len(log)) + 1
    cut = data.draw(st.integers(-1, len(whole) - 1))
    assert _told(log, cut) == whole[cut + 1 :]
    # The answer's last event is read also for a client that has had all, so that its stream ends.
    assert place_to_read_from(len(whole) - 1) == len(log)


def test_the_deltas_make_the_text_and_nothing_else_does() -> None:
    whole = _told(
        [
            ("queued", ""),
            ("queued", ""),
            ("started", ""),
            ("delta", "Hel"),
            ("thinking", "x"),
            ("delta", "lo"),
            ("done", ""),
        ]
    )
    assert [event["type"].removeprefix("response.") for event in whole] == [
        *("created", "queued", "output_item.added", "content_part.added"),
        *("queued", "in_progress", "output_text.delta", "output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    deltas = "".join(event["delta"] for event in whole if event["type"].endswith("delta"))
    assert deltas == whole[-4]["text"] == whole[-1]["response"]["output"][0]["content"][0]["text"] == "Hello"


BETWEEN_WORDS = st.sampled_from(("delta", "thinking", "fallback", "resumed", "handover", "block", "model", "branch"))


@given(st.integers(0, 3), st.lists(st.tuples(BETWEEN_WORDS, st.text(max_size=5)), max_size=20))
def test_a_client_that_takes_each_response_that_is_told_in_place_of_its_own_has_the_text(
    positions: int, between: list[tuple[str, str]]
) -> None:
    """As the `openai` package for Node does, version 6."""
    log = [("queued", "")] * (1 + positions) + [("started", ""), *between, ("done", "")]
    snapshot: dict[str, Any] = {}
    for event in copy.deepcopy(_told(log)):
        match event["type"].removeprefix("response."):
            case "created" | "queued" | "in_progress" | "completed":
                snapshot = event["response"]
            case "output_item.added":
                snapshot["output"].append(event["item"])
            case "content_part.added":
                snapshot["output"][event["output_index"]]["content"].append(event["part"])
            case "output_text.delta":
                snapshot["output"][event["output_index"]]["content"][event["content_index"]]["text"] += event["delta"]
            case "output_text.done":
                assert snapshot["output"][event["output_index"]]["content"] == [part(event["text"])]
    assert snapshot["status"] == "completed"


@pytest.mark.parametrize(
    ("sent", "question"),
    [
        ("Why?", Question("Why?", "")),
        ([{"role": "user", "content": "Why?"}], Question("Why?", "")),
        (
            [
                {"type": "message", "role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "input_text", "text": "One"}, {"type": "text", "text": "two"}]},
                {"role": "user", "content": "three"},
            ],
            Question("One\n\ntwo\n\nthree", "Be brief."),
        ),
    ],
)
def test_an_input_is_a_question(sent: Any, question: Question) -> None:
    assert question_of(sent) == question


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (" \n", "input"),
        ([], "input"),
        ([{"role": "system", "content": "Be brief."}], "input"),
        ([{"role": "user", "content": "x"}] * 101, "input"),
        (["Why?"], "input.0"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "input.1.role"),
        ([{"role": ["user"], "content": "x"}], "input.0.role"),
        ([{"role": "user", "content": None}], "input.0.content"),
        ([{"role": "user", "content": [{"type": "input_text", "text": "x"}] * 101}], "input.0.content"),
        ([{"role": "user", "content": ["x"]}], "input.0.content.0"),
        ([{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}], "input.0.content.0.type"),
        ([{"role": "user", "content": [{"type": {}, "text": "x"}]}], "input.0.content.0.type"),
        ([{"role": "user", "content": [{"type": "input_text", "text": 7}]}], "input.0.content.0.text"),
        ([{"type": "function_call_output", "output": "x"}], "input.0.type"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_what_is_no_question_is_named(sent: Any, field: str) -> None:
    with pytest.raises(InvalidBody) as refused:
        question_of(sent)
    assert refused.value.extra["field"] == field
