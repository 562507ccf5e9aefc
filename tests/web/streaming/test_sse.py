"""Events as bytes, after the rules of WHATWG HTML 9.2; two independent readers must agree on them."""

import json

import pytest
import sseclient
from hypothesis import given
from hypothesis import strategies as st

from tests.web.sse import ServerEvent, events
from web.streaming.sse import COMMENT, RETRY, frame

VECTORS = {
    "empty": "",
    "space": " ",
    "leading space": "  two before",
    "trailing newline": "line\n",
    "newlines": "\n\n",
    "CR": "a\rb",
    "LF": "a\nb",
    "CRLF": "a\r\nb",
    "NUL": "a\0b",
    "line separator": "a\u2028b\u2029c",
    "next line and form feed": "a\x85b\x0cc\x1ed",
    "BOM": "\ufeffa",
    "emoji": "👩\u200d🚀🎉",
    "fields": "data: x\nid: 9\nevent: y\n\n: comment",
    "colon": ": ",
    "quotes": '"\\',
}


def _by_sseclient(body: bytes, cut: int) -> list[ServerEvent]:
    blocks = [body[at : at + cut] for at in range(0, len(body), cut)]
    read = sseclient.SSEClient(iter(blocks)).events()
    return [ServerEvent(event.id or "", event.event, json.loads(event.data)) for event in read]


@pytest.mark.parametrize("text", VECTORS.values(), ids=VECTORS)
def test_every_text_arrives_as_it_was(text: str) -> None:
    body = frame("delta", json.dumps({"text": text}), "e-1")
    (event,) = events([body])
    assert event == ServerEvent("e-1", "delta", {"text": text})
    assert _by_sseclient(body, len(body)) == [event]
    assert body.isascii()
    assert body.count(b"\n") == 4


def test_an_emoji_that_is_split_over_two_events_is_whole_again() -> None:
    whole = "👩\u200d🚀"
    body = b"".join(frame("delta", json.dumps({"text": part}), f"e-{n}") for n, part in enumerate(whole, 1))
    assert "".join(event.data["text"] for event in events([body])) == whole


def test_what_is_no_event_is_passed_over() -> None:
    body = COMMENT + RETRY + frame("done", "{}", "e-1") + COMMENT
    assert list(events([body])) == _by_sseclient(body, 7) == [ServerEvent("e-1", "done", {})]


@given(
    texts=st.lists(st.text(), min_size=1, max_size=5),
    cut=st.integers(min_value=1, max_value=40),
)
def test_two_readers_agree_however_the_bytes_are_cut(texts: list[str], cut: int) -> None:
    body = b"".join(frame("delta", json.dumps({"text": text}), f"e-{n}") for n, text in enumerate(texts, 1))
    expected = [ServerEvent(f"e-{n}", "delta", {"text": text}) for n, text in enumerate(texts, 1)]
    assert list(events(body[at : at + cut] for at in range(0, len(body), cut))) == expected
    assert _by_sseclient(body, cut) == expected
