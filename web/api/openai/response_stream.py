"""A response's stream: the session's events as its readers get them, in OpenAI's words, up to the answer's end."""

import json
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any

from core.conversation.extent import Extent
from core.conversation.position import Position
from core.errors import InvalidBody, SwitchboardError, Unavailable
from core.generation.answers import Answer, Answers
from web.api.openai import response_events, response_objects
from web.api.openai.errors import error_of
from web.api.openai.response_events import ENDS, HEAD, numbered
from web.auth.principal import current_principal
from web.context import context
from web.streaming.reader import Reader
from web.streaming.slots import Body, held
from web.streaming.sse import COMMENT, frame
from web.streaming.wire import Broken, Wire

Json = dict[str, Any]

NOT_EXACT = "the events of this response are not kept as they were sent; GET it without `stream` instead."


def stream(answer: Answer, starting_after: int | None = None) -> Body:
    """The body of a stream of the events after that sequence number, or of all. It keeps the request's stream slot.

    Raises InvalidBody for a number that no event has had, or after which it can't be gone on; Unavailable.
    """
    after = -1 if starting_after is None else starting_after
    extent = context().services.extents.find(answer.session.id, answer.id)
    if after >= HEAD and (extent is None or not extent.whole):
        raise InvalidBody(f"starting_after: {NOT_EXACT}", field="starting_after")
    if extent is None and answer.is_live:
        raise Unavailable(retry_after=1)  # its log is about to come, or to come back
    if extent is None:
        return held(_made_up(answer, after))
    _require_sent(answer, extent, after)
    wire = ResponseWire(context().services.answers, answer, extent, after)
    reader = _reader(answer, wire)
    return held(_told(wire, reader.read(wire.start, b"")), reader.leave)


def whole(answer: Answer) -> Body:
    """The body of a response as JSON, which comes when the answer has ended; until then a space now and then, for
    proxies that close silent connections. It keeps the request's stream slot. Where the process has to end first, the
    response comes as it is then, which its status tells."""
    extent = context().services.extents.find(answer.session.id, answer.id)
    answers = context().services.answers
    if extent is None:
        return held(_as_it_is(answers, answer))
    reader = _reader(answer, Awaiting())
    return held(_awaited(answers, answer, reader.read(extent.before, b"")), reader.leave)


def _reader(answer: Answer, wire: Wire) -> Reader:
    return Reader(context().stream_sources, answer.session, current_principal(), str(answer.id), wire)


class Unkept(Exception):
    """The reader's place is lost."""


class ResponseWire:
    """Tells a session's events as those of a response."""

    def __init__(self, answers: Answers, answer: Answer, extent: Extent, after: int) -> None:
        """`after`: the sequence number of the last event that the client has had."""
        self._answers = answers
        self._answer = answer
        self._described = response_objects.described(answer)
        self.last = after
        """The sequence number of the last event that the client has been sent."""
        # Where the log has lost the first event, the client, which has seen no words yet, is told it in its place.
        self._lacks_head = not extent.whole
        self._before = extent.before.offset - self._lacks_head
        first = self._before + response_events.place_to_read_from(after) - 1
        self.start = Position(extent.before.epoch, max(first, extent.before.offset))
        """The place to read from."""

    def begin(self) -> bytes:
        """A comment, so that the head is sent at once, and the events that the log has lost."""
        lost = self._new(numbered(response_events.head(self._described), 0)) if self._lacks_head else b""
        return COMMENT + lost

    def tell(self, kind: str, data: str, at: Position, _encoded: bytes | None = None) -> bytes:
        """What the event becomes."""
        place = at.offset - self._before
        return self._new(numbered(self._become(place, kind, data), response_events.first_number(place)))

    def reset(self, _reason: str, _at: Position | None) -> bytes:
        """It can't be gone on exactly."""
        raise Unkept

    def expire(self, _encoded: bytes) -> bytes:
        """The session is over, or the key."""
        raise Broken

    def leave(self) -> None:
        """The client is to come back."""
        raise Broken

    def error(self) -> bytes:
        """That it can't be gone on exactly, as the last event."""
        event = {"type": "error", "code": "stream_not_kept", "message": f"Can't go on: {NOT_EXACT}", "param": None}
        return self._new(numbered(iter([event]), self.last + 1))

    def _become(self, place: int, kind: str, data: str) -> Iterator[Json]:
        if place == 1:
            return response_events.head(self._described)
        read = json.loads(data)
        if kind in ENDS:
            return response_events.tail(self._described, self._ended(read.get("length")))
        return iter([response_events.middle(self._described, kind, read)])

    def _ended(self, length: int | None) -> Json:
        """The response as it has ended, with a text of that many characters: it may have been continued since."""
        ended = _current(self._answers, self._answer)
        if ended.message is not None and length is not None:
            ended = replace(ended, message=replace(ended.message, text=ended.message.text[:length]))
        return response_objects.response(ended)

    def _new(self, events: Iterator[Json]) -> bytes:
        """What of the events is new to the client."""
        told = [event for event in events if event["sequence_number"] > self.last]
        if told:
            self.last = told[-1]["sequence_number"]
        return b"".join(frame(event["type"], json.dumps(event)) for event in told)


class Awaiting:
    """Tells nothing, and waits for the end."""

    def begin(self) -> bytes:
        """Something, so that the head is sent at once."""
        return b" "

    def tell(self, *_: object) -> bytes:
        """Nothing."""
        return b""

    def reset(self, *_: object) -> bytes:
        """The end may be among what is lost."""
        raise Unkept

    def expire(self, _: bytes) -> bytes:
        """The session is over, or the key."""
        raise Broken

    def leave(self) -> None:
        """There is no more time to wait."""
        raise Unkept


def _told(wire: ResponseWire, sent: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    try:
        yield from sent
    except Unkept:
        yield wire.error()


def _awaited(answers: Answers, answer: Answer, sent: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    with suppress(Unkept, Broken):
        for _ in sent:
            yield b" "
    yield from _as_it_is(answers, answer)


def as_json(answer: Answer) -> bytes:
    """A response as it is."""
    return json.dumps(response_objects.response(answer)).encode()


def _as_it_is(answers: Answers, answer: Answer) -> Generator[bytes, None, None]:
    """The response as it is by now; or why it can't be told, after which the body breaks off: its status, that of
    success, has been sent, and no client is to take an error for a response."""
    assert answer.session.owner_id is not None
    try:
        yield as_json(answers.find(answer.id, answer.session.owner_id))
    except SwitchboardError as error:
        yield json.dumps(error_of(error.problem())).encode()
        raise Broken from None


def _current(answers: Answers, answer: Answer) -> Answer:
    """The answer as it is by now. Raises Broken when that can't be told."""
    assert answer.session.owner_id is not None
    try:
        return answers.find(answer.id, answer.session.owner_id)
    except SwitchboardError:
        raise Broken from None


def _require_sent(answer: Answer, extent: Extent, after: int) -> None:
    """Raise InvalidBody for a number beyond those of what has been sent."""
    top = context().services.log.read(answer.session.id, after=extent.before.offset, limit=1).top
    before = extent.before.offset - (not extent.whole)
    last = response_events.last_number(max(1, (top if extent.end is None else extent.end) - before))
    if after > last:
        raise InvalidBody(
            f"starting_after: no event of this response has had a number above {last}.", field="starting_after"
        )


def _made_up(answer: Answer, after: int) -> Generator[bytes, None, None]:
    """The events of an answer that the log has no more, to a client that has seen no words of it yet: they come at
    once."""
    described, ended = response_objects.described(answer), response_objects.response(answer)
    text = answer.message.text if answer.message else ""
    events = chain(
        response_events.head(described),
        [response_events.delta(described, text)],
        response_events.tail(described, ended),
    )
    for event in numbered(events, 0):
        if event["sequence_number"] > after:
            yield frame(event["type"], json.dumps(event))
