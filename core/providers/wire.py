"""What the wire protocols have in common: the HTTP client, its errors in our words, and an answer that can be cut."""

import codecs
import contextlib
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from core.characters import storable
from core.model_config import ModelConfig
from core.providers import Chunk, ErrorKind, ProviderError
from core.providers.bounded import bound


def http_client(config: ModelConfig) -> httpx2.Client:
    """For one model's requests. It raises ProviderError for every answer that is not a success."""
    return httpx2.Client(
        # A proxy of the environment is for the servers out there, not for the one on this machine.
        trust_env=config.weights is None,
        # No connection is used twice: abort() must never hit the next answer on it.
        limits=httpx2.Limits(max_keepalive_connections=0),
        timeout=httpx2.Timeout(
            connect=config.connect_timeout,
            # Between two reads of the socket; the writer watches the finer deadlines.
            read=max(config.first_token_timeout, config.between_tokens_timeout),
            write=10.0,
            pool=config.connect_timeout,
        ),
        # Compressed events wait for one another.
        headers={"Accept-Encoding": "identity"},
        event_hooks={"request": [_watch], "response": [_refuse, _bound]},
    )


def api_key(config: ModelConfig, local_key: str) -> str:
    """The model's key; with weights of its own, that of the local server. Raises ProviderError for one that no header
    can carry."""
    name = "SWITCHBOARD_MODEL_KEY" if config.weights else config.api_key_env
    key = local_key if config.weights else os.environ.get(name, "").strip() if name else ""
    if not (key.isascii() and key.isprintable()):
        raise ProviderError(ErrorKind.UNAUTHORIZED, f"{name} holds characters that no key has")
    # The SDKs want some key; servers without authentication ignore it.
    return key or "none"


class WireStream:
    """A ChunkStream over one request, which is sent when the first chunk is wanted."""

    def __init__(self, ask: Callable[[], tuple[httpx2.Response, Iterator[Chunk]]]) -> None:
        self._ask = ask
        self._socket: socket.socket | None = None
        self.aborted = False
        """Whether nobody wants the rest any more."""

    def __iter__(self) -> Iterator[Chunk]:
        finished = False
        characters = _Characters()
        try:
            with translated(), contextlib.ExitStack() as stack:
                response, chunks = self._send()
                stack.callback(response.close)
                for chunk in chunks:
                    finished = finished or chunk.finish_reason is not None
                    yield chunk._replace(text=characters.feed(chunk.text))
        except ProviderError:
            if not finished:  # all has been said: what goes wrong after that is only the parting
                raise
        if not finished:
            # A connection that just ends looks like the end of the answer.
            raise ProviderError(ErrorKind.BROKEN_STREAM, "ended without a finish reason")

    def abort(self) -> None:
        self.aborted = True
        # Closing a socket does not wake a thread that reads from it; shutting it down does.
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _send(self) -> tuple[httpx2.Response, Iterator[Chunk]]:
        if self.aborted:
            raise ProviderError(ErrorKind.BROKEN_STREAM, "aborted before it was asked")
        asking = _asking.set(self)
        try:
            return self._ask()
        finally:
            _asking.reset(asking)

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """What the HTTP client does. A server may take its time before the head of its response, so the connection
        is known from the moment at which it stands."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self.aborted:
                self.abort()


_asking: ContextVar[WireStream] = ContextVar("asking")
"""Whose request is being sent in this thread: the SDKs have no way to hand it on."""


def _watch(request: httpx2.Request) -> None:
    request.extensions["trace"] = _asking.get().trace


def _bound(response: httpx2.Response) -> None:
    stream = _asking.get()
    bound(response, lambda: stream.aborted)


class _Characters:
    """Makes whole characters of what came as JSON.

    A server that cuts its text by UTF-16 can send the halves of a character in two chunks. Half a character that
    stays alone could not be encoded later on, and NUL not be stored.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-16-le")("replace")

    def feed(self, text: str) -> str:
        whole: str = self._decoder.decode(text.encode("utf-16-le", "surrogatepass"))
        return storable(whole)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Whatever goes wrong with a server, as a ProviderError without anything that the server wrote."""
    try:
        yield
    except Exception as error:
        # Not `from error`: the SDKs' messages quote the server, and a traceback would quote them.
        raise _in_our_words(error) from None


def _in_our_words(error: BaseException | None) -> ProviderError:
    name = type(error).__name__
    while error is not None:
        match error:
            case ProviderError():
                return error
            case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.ProxyError() | httpx2.UnsupportedProtocol():
                return ProviderError(ErrorKind.UNREACHABLE, type(error).__name__)
            case httpx2.TimeoutException():
                return ProviderError(ErrorKind.TIMEOUT, type(error).__name__)
            case httpx2.HTTPError():
                return ProviderError(ErrorKind.BROKEN_STREAM, type(error).__name__)
        # The SDKs wrap what httpx2 raises.
        error = error.__cause__
    # What remains is a server that does not speak the protocol.
    return ProviderError(ErrorKind.BROKEN_STREAM, name)


def _refuse(response: httpx2.Response) -> None:
    """Before its body is read: that might be endless, and says nothing that we may repeat. A redirect is refused too:
    a conversation and a key go to the address that was configured."""
    if not response.is_success:
        status = response.status_code
        if status in (400, 413) and (refusal := _too_long(_beginning(response))):
            raise refusal
        raise ProviderError(kind_of(status), f"HTTP {status}", _seconds(response.headers.get("Retry-After", "")))


TOO_LONG = re.compile(r"too (?:long|large)|context.{0,9}(?:length|size)|reduce the length", re.IGNORECASE)
COUNTED = re.compile(
    r"""resulted in (\d+)|(\d+) (?:in the messages|input tokens)|n_prompt_tokens": ?(\d+)|long: (\d+)"""
    r"""|Requested (\d+)"""
)
LIMIT = re.compile(r"""context length is (\d+)|n_ctx": ?(\d+)|> (\d+) maximum|Limit (\d+)""")


def _beginning(response: httpx2.Response) -> str:
    body = b""
    for piece in response.iter_raw():
        body += piece
        if len(body) > 16 * 1024:
            break
    return body.decode(errors="replace")


def _too_long(body: str) -> ProviderError | None:
    if not TOO_LONG.search(body):
        return None
    counted, limit = (
        next((int(figure) for figure in found.groups() if figure), None) if found else None
        for found in (COUNTED.search(body), LIMIT.search(body))
    )
    return ProviderError(ErrorKind.TOO_LONG, "too long", prompt_tokens=counted, limit_tokens=limit)


def kind_of(status: int) -> ErrorKind:
    """What an HTTP status means for what happens next."""
    match status:
        case 401 | 402 | 403:
            return ErrorKind.UNAUTHORIZED
        case 408 | 504:
            return ErrorKind.TIMEOUT
        case 429 | 529:  # 529 is Anthropic's, for a server that is overloaded
            return ErrorKind.RATE_LIMITED
        case 404 | 405 | 410:  # this address has no such model, or is none of a model server
            return ErrorKind.UNREACHABLE
        case _ if status < 400:
            return ErrorKind.UNREACHABLE
        case _ if status < 500:
            return ErrorKind.REJECTED
    return ErrorKind.SERVER_ERROR


def _seconds(retry_after: str) -> float | None:
    """Retry-After, which is a number of seconds or a date, in seconds from now."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
