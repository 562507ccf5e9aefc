"""One chat completion: the events of its generation as chunks or as one answer, and what follows its end."""

import json
import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from typing import Any

from flask import request

from core.auth.principal import Principal
from core.errors import SwitchboardError, Unavailable
from core.generation.service import AcceptedRequest
from web.api.openai.answer_text import NOTHING, Added, AnswerText
from web.api.openai.errors import error_of, for_failed_answer
from web.context import context
from web.schemas.chat_completions import (
    AnswerMessage,
    ChatCompletion,
    CompletionChoice,
    CompletionTokensDetails,
    CompletionUsage,
    CreateChatCompletion,
    FinishReason,
)
from web.streaming.answer_reader import TICK, AnswerEvent, AnswerInterrupted, AnswerReader
from web.streaming.reader import HEARTBEAT_INTERVAL
from web.streaming.sse import COMMENT
from web.streaming.wire import Broken

logger = logging.getLogger(__name__)

STATUS_WAIT = 10.0
"""Seconds for which a stream waits for the first word before its status is sent: what fails until then has a status
of its own, as clients expect, and no proxy takes the silence for a dead server."""
WHOLE_STATUS_WAIT = 20.0
"""Seconds for which a whole answer waits for its end before its status is sent, which has to be one of success. Few
fail later, and most proxies close a connection that is silent for 30 to 100 s."""
EXTEND_INTERVAL = 30.0
"""Seconds between two extensions of the request's session."""
MAX_LOOKS = 2
"""How often it may be found that no worker has the answer, whose end has not been told: then it was lost."""
STOP_WAIT = 2.0
"""Seconds to wait for an answer's end that nobody reads, so that it is counted for what it has come to."""
FINISH: Mapping[str, FinishReason] = {"length": "length", "content_filter": "content_filter"}
"""Ours by theirs; any other is `stop`."""
DONE = b"data: [DONE]\n\n"


class Completion:
    """The answer to one request that has been accepted."""

    def __init__(self, principal: Principal, taken: AcceptedRequest, body: CreateChatCompletion) -> None:
        app = context()
        accepted, self._session = taken
        self._services = app.services
        self._reader = AnswerReader(app.stream_sources, self._session, principal, accepted)
        self._events = self._reader.events()
        self._has_left: Callable[[], object] = getattr(request.environ.get("gunicorn.socket"), "has_left", _stays)
        self._left = False
        self._id = f"chatcmpl-{accepted.generation_id.hex}"
        self._created = int(time.time())
        self._model = body.model
        self._includes_usage = bool(body.stream_options and body.stream_options.include_usage)
        self._text = AnswerText()
        self._look_at = time.monotonic() + TICK
        self._extend_at = time.monotonic() + EXTEND_INTERVAL
        self._missed = 0

    def leave(self) -> None:
        """End it, its client has left."""
        self._left = True

    def whole(self) -> bytes | Generator[bytes, None, None]:
        """The answer as JSON; or as the body of a response, whose status then is one of success, where it
        takes so long that proxies would close a silent connection. Raises what it has failed with by then."""
        waiting, until = self._awaited(), time.monotonic() + WHOLE_STATUS_WAIT
        while time.monotonic() < until:
            try:
                next(waiting)
            except StopIteration as end:
                return _encoded(end.value)
        body = _kept_alive(waiting)
        next(body)  # as in `stream`
        return body

    def _awaited(self) -> Generator[None, None, ChatCompletion]:
        """The whole answer, after as many turns as it takes, of a second at most. Raises what it has failed with."""
        said: list[str] = []
        try:
            for event in self._look():
                if event is not None:
                    said.append(self._take(event).text)
                    if self._reader.ended:
                        return self._whole("".join(said), self._end(event))
                yield
            raise AnswerInterrupted
        finally:
            self._close()

    def stream(self) -> Generator[bytes, None, None]:
        """The answer as chunks, each an event. Raises what it has failed with before its first word."""
        try:
            first = self._first_words()
        except BaseException:
            self._close()
            raise
        chunks = self._stream(first)
        next(chunks)  # from here on its end is heard of, also if its client is gone before it begins
        return chunks

    def _first_words(self) -> AnswerEvent | None:
        """The first event that has words, or the last one; None when neither comes soon."""
        until = time.monotonic() + STATUS_WAIT
        for event in self._look():
            if event is None:
                if time.monotonic() > until:
                    return None
            elif self._reader.ended:
                self._end(event)
                return event
            elif event.type in ("delta", "thinking"):
                return event
            else:
                self._take(event)
        raise AnswerInterrupted

    def _stream(self, first: AnswerEvent | None) -> Generator[bytes, None, None]:
        try:
            yield b""
            yield from self._tell(first)
        except SwitchboardError as error:
            yield _frame(error_of(error.problem()))
        finally:
            self._close()

    def _tell(self, first: AnswerEvent | None) -> Iterator[bytes]:
        begun, beat_at = False, time.monotonic()
        event, events = first, self._look()
        while True:
            if event is not None:
                added = self._take(event)
                if not begun and (added != NOTHING or self._reader.ended):
                    begun = True
                    yield self._chunk({"role": "assistant", "content": ""})
                if added != NOTHING:
                    yield self._chunk(_delta(added))
                if self._reader.ended:
                    yield from self._last_chunks(self._end(event))
                    return
            if time.monotonic() >= beat_at:
                beat_at = time.monotonic() + HEARTBEAT_INTERVAL
                yield COMMENT
            event = next(events)

    def _last_chunks(self, data: Mapping[str, Any]) -> Iterator[bytes]:
        yield self._chunk({}, _finish(data))
        if self._includes_usage:
            yield _frame({**self._head(), "choices": [], "usage": _usage(data).wire()})
        yield DONE

    def _look(self) -> Iterator[AnswerEvent | None]:
        """The events, as long as there is a client to tell them to."""
        for event in self._events:
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + TICK
                if self._left or self._has_left():
                    raise AnswerInterrupted("The client has left.")
                self._extend()
            yield event

    def _take(self, event: AnswerEvent) -> Added:
        if event.type in ("fallback", "handover"):
            self._model = str(event.data["to"])
        return self._text.take(event.type, event.data)

    def _end(self, event: AnswerEvent) -> Mapping[str, Any]:
        """The data of the event with which it is done. Raises the error with which it has ended otherwise."""
        if event.type == "failed":
            raise for_failed_answer(event.data["problem"], self._model)
        if event.type == "stopped":
            raise AnswerInterrupted
        self._model = str(event.data.get("model") or self._model)
        return event.data

    def _whole(self, text: str, data: Mapping[str, Any]) -> ChatCompletion:
        thinking = {"reasoning_content": self._text.thinking} if self._text.thinking else {}
        message = AnswerMessage(role="assistant", content=text, refusal=None, **thinking)
        choice = CompletionChoice(index=0, message=message, logprobs=None, finish_reason=_finish(data))
        head = {"id": self._id, "created": self._created, "model": self._model}
        return ChatCompletion(object="chat.completion", choices=[choice], usage=_usage(data), **head)

    def _head(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
        }

    def _chunk(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._includes_usage else {}
        return _frame({**self._head(), "choices": [choice], **usage})

    def _extend(self) -> None:
        """Let the session live while somebody waits."""
        if time.monotonic() < self._extend_at:
            return
        self._extend_at = time.monotonic() + EXTEND_INTERVAL
        try:
            self._services.actions.refresh(self._session)
            self._missed += self._services.generations.active(self._session.id) is None
        except Unavailable:
            return
        except SwitchboardError:
            raise AnswerInterrupted from None
        if self._missed > MAX_LOOKS:
            raise AnswerInterrupted

    def _close(self) -> None:
        """Nothing of the request stays. What can't be removed now expires within minutes."""
        try:
            if not self._reader.ended:
                self._stop()
            self._events.close()
            self._services.actions.discard(self._session)
        except SwitchboardError as error:
            logger.warning("a request's session could not be ended before its expiry: %s", error.slug)

    def _stop(self) -> None:
        """Stop the answer, which nobody will read, and wait a moment for its end."""
        with suppress(SwitchboardError):
            self._services.generations.stop(self._session)
            until = time.monotonic() + STOP_WAIT
            for _ in self._events:
                if self._reader.ended or time.monotonic() > until:
                    return


def _kept_alive(waiting: Generator[None, None, ChatCompletion]) -> Generator[bytes, None, None]:
    """The JSON of the answer, and spaces before it. Of one that fails, the error, after which the body breaks off: no
    client is to take it for an answer."""
    beat_at = 0.0
    try:
        yield b""
        while True:
            try:
                next(waiting)
            except StopIteration as end:
                yield _encoded(end.value)
                return
            if time.monotonic() >= beat_at:
                beat_at = time.monotonic() + HEARTBEAT_INTERVAL
                yield b" "
    except SwitchboardError as error:
        yield json.dumps(error_of(error.problem())).encode("ascii")
        raise Broken from None
    finally:
        waiting.close()


def _encoded(completion: ChatCompletion) -> bytes:
    return json.dumps(completion.wire(), separators=(",", ":")).encode("ascii")


def _stays() -> bool:
    """Of a server that does not know: the next word that it can't send tells it."""
    return False


def _delta(added: Added) -> dict[str, str]:
    text = {"content": added.text} if added.text else {}
    return text | ({"reasoning_content": added.thinking} if added.thinking else {})


def _finish(data: Mapping[str, Any]) -> FinishReason:
    return FINISH.get(str(data.get("finish_reason")), "stop")


def _usage(data: Mapping[str, Any]) -> CompletionUsage:
    counted = data.get("usage") or {}
    asked, said = int(counted.get("prompt_tokens") or 0), int(counted.get("completion_tokens") or 0)
    return CompletionUsage(
        prompt_tokens=asked,
        completion_tokens=said,
        total_tokens=asked + said,
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=int(counted.get("reasoning_tokens") or 0)),
    )


def _frame(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode("ascii") + b"\n\n"
