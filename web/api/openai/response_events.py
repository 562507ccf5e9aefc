"""The events of a response's stream, made of an answer's events by arithmetic: pure functions of values.

Each event of ours becomes one event of OpenAI's, but the first, which becomes HEAD of them, and the last, which
becomes TAIL. So the `sequence_number` of each follows from the place of ours in the log, whichever process makes it,
and a client's `starting_after` leads back to that place. Nothing is counted that the log does not have: what OpenAI
has no event for, such as another model that takes over, is told as a delta without words, which changes nothing for a
client and leaves no gap.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

HEAD = 4
"""Events that the first one of an answer becomes."""
TAIL = 4
"""Events that its last one becomes."""
ENDS = ("done", "stopped", "failed")
"""The kinds of the last one."""

WAITING = {"queued": "queued", "started": "in_progress"}
"""What comes before any word, and the status that it tells."""

Json = dict[str, Any]
OUTPUT, CONTENT = 0, 0
"""The places of the one item that a response has, and of its one part."""


@dataclass(frozen=True)
class Described:
    """What the events of one response are made of."""

    response: Json
    """The response as it is before it begins, without a status."""
    item_id: str


def first_number(place: int) -> int:
    """The sequence number of the first event that the answer's event at this place becomes. Places begin with 1."""
    return 0 if place == 1 else HEAD + place - 2


def place_to_read_from(starting_after: int) -> int:
    """The earliest place whose event may become one with a greater sequence number than `starting_after`.

    The answer's last event becomes TAIL of them, so it may lie that much before the place that arithmetic names, and
    it is found also by a client that has had it all.
    """
    return max(1, starting_after - HEAD + 3 - TAIL)


def last_number(places: int) -> int:
    """The sequence number of the last event of an answer that has ended with so many events."""
    return first_number(places) + TAIL - 1


def head(described: Described) -> Iterator[Json]:
    """What the answer's first event becomes."""
    yield {"type": "response.created", "response": {**described.response, "status": "queued"}}
    yield {"type": "response.queued", "response": {**described.response, "status": "queued"}}
    item = {**message(described.item_id, "", "in_progress"), "content": []}
    yield {"type": "response.output_item.added", "output_index": OUTPUT, "item": item}
    yield {"type": "response.content_part.added", **_at(described), "part": part("")}


def middle(described: Described, kind: str, data: Mapping[str, Any]) -> Json:
    """What an event between the first and the last becomes."""
    if kind == "delta":
        return delta(described, str(data.get("text", "")))
    status = WAITING.get(kind)
    if status is None:
        return delta(described, "")
    # With the item that has been added: clients take this response in place of the one that they have put together.
    output = [message(described.item_id, "", "in_progress")]
    return {"type": f"response.{status}", "response": {**described.response, "status": status, "output": output}}


def delta(described: Described, text: str) -> Json:
    """The next words."""
    return {"type": "response.output_text.delta", **_at(described), "delta": text, "logprobs": []}


def tail(described: Described, ended: Json) -> Iterator[Json]:
    """What the answer's last event becomes. `ended` is the response as it is from then on."""
    item = ended["output"][0] if ended["output"] else message(described.item_id, "", "incomplete")
    (content,) = item["content"]
    yield {"type": "response.output_text.done", **_at(described), "text": content["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **_at(described), "part": content}
    yield {"type": "response.output_item.done", "output_index": OUTPUT, "item": item}
    yield {"type": TERMINAL[ended["status"]], "response": ended}


TERMINAL = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "cancelled": "response.incomplete",
    "failed": "response.failed",
}
"""The last event, by the response's status. OpenAI has no event of its own for one that was cancelled."""


def numbered(events: Iterator[Json], first: int) -> Iterator[Json]:
    """The events with their sequence numbers."""
    for number, event in enumerate(events, first):
        yield {"type": event["type"], "sequence_number": number, **event}


def message(item_id: str, text: str, status: str) -> Json:
    """The one item that a response has."""
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": [part(text)]}


def part(text: str) -> Json:
    """The one part that it has."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _at(described: Described) -> Json:
    return {"item_id": described.item_id, "output_index": OUTPUT, "content_index": CONTENT}
