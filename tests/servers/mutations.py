"""What becomes of streams on their way, or in the hands of a server that has changed its mind: for Hypothesis."""

import json
import re
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from tests.servers.case import Case
from tests.servers.replay import protocol
from tests.servers.streams import CASES

OTHER_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    3.5,
    10**30,
    "",
    "stop",
    "\ud83c",
    "\x00",
    [],
    ["a"],
    {},
    {"text": "a"},
    [[]],
]
DATA = re.compile(rb"^data: (\{.*\})$", re.MULTILINE)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, Case]:
    """A protocol, and a recorded response to which something has happened, once or a few times."""
    name = draw(st.sampled_from(sorted(CASES)))
    case = CASES[name]
    body = case.body
    for mutate in draw(st.lists(st.sampled_from([_bytes, _events, _values]), min_size=1, max_size=3)):
        body = mutate(draw, body)
    status = draw(st.sampled_from([case.status] * 4 + [200, 202, 400, 429, 500]))
    return protocol(name), replace(case, body=body, status=status, refuses="", table="")


def _bytes(draw: st.DrawFn, body: bytes) -> bytes:
    """Some are lost, doubled, swapped or other ones; or the rest never comes."""
    start = draw(st.integers(0, len(body)))
    end = min(len(body), start + draw(st.integers(0, 60)))
    part = body[start:end]
    return draw(
        st.sampled_from(
            [
                body[:start] + body[end:],
                body[:end] + part + body[end:],
                body[:start] + part[::-1] + body[end:],
                body[:start] + bytes(byte ^ 0x80 for byte in part) + body[end:],
                body[:start],
            ]
        )
    )


def _events(draw: st.DrawFn, body: bytes) -> bytes:
    """They come in another order, some of them twice, and some not at all."""
    events = body.split(b"\n\n")
    return b"\n\n".join(draw(st.lists(st.sampled_from(events), max_size=len(events) + 3)))


def _values(draw: st.DrawFn, body: bytes) -> bytes:
    """A value in one event's JSON, or in a whole body, is another one."""
    found = list(DATA.finditer(body)) or list(re.finditer(rb"(?s)^(\{.*\})$", body))
    if not found:
        return body
    match = draw(st.sampled_from(found))
    try:
        value = json.loads(match[1])
    except ValueError:  # it has been mutated before
        return body
    places = list(_places(value))
    holder, key = draw(st.sampled_from(places))
    holder[key] = draw(st.sampled_from(OTHER_VALUES))
    return body[: match.start(1)] + json.dumps(value).encode() + body[match.end(1) :]


def _places(value: Any) -> Any:
    """Where in it there are values: their holder and their key."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)
