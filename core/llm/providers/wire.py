"""The HTTP that the wire protocols have in common: the client, the options of its connection, and a response that can
be cut from another thread."""

import contextlib
import os
import socket
import ssl
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2

from core.llm.model_config import ModelConfig
from core.llm.providers.base import ErrorKind, ProviderError
from core.llm.providers.compression import decompressed
from core.llm.providers.connection_errors import RequestProgress, connection_error
from core.llm.providers.errors import RequestRefused, complaint_of
from core.llm.providers.events import parsed
from core.llm.providers.proxies import Proxy, proxy_for

MAX_ERROR_BODY = 16 * 1024
"""Bytes of a refusal's body that are read."""
ERROR_BODY_TIMEOUT = 1.0
"""Seconds for them, and for the last of them: two altogether."""


def connection_options(url: str, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """What an HTTP client, of either kind, needs to reach the URL: the environment's proxy, and whom to trust.

    Raises ProviderError(MISCONFIGURED) that names the variable when one is wrong that concerns this URL. Without
    these, a client reads all of the environment, and can't be made when any of it is wrong.
    """
    proxy = proxy_for(url, environment)
    encrypted = url.startswith("https:") or (proxy is not None and proxy.url.startswith("https:"))
    # A context that trusts no authority costs nothing; the other one reads all the certificates there are.
    context = _trust(environment) if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return {"trust_env": False, "verify": context, "proxy": _checked(proxy, context) if proxy else None}


def _trust(environment: Mapping[str, str]) -> ssl.SSLContext:
    file, directory = environment.get("SSL_CERT_FILE"), environment.get("SSL_CERT_DIR")
    if not file and directory and not os.path.isdir(directory):  # noqa: PTH112  bytes that are no path are none
        raise ProviderError(ErrorKind.MISCONFIGURED, "SSL_CERT_DIR names no directory")
    try:
        return httpx2.create_ssl_context(trust_env=True)
    except (OSError, ValueError):
        variable = "SSL_CERT_FILE" if file else "SSL_CERT_DIR" if directory else "the system's store"
        raise ProviderError(ErrorKind.MISCONFIGURED, f"{variable} holds no certificates that can be read") from None


def _checked(proxy: Proxy, context: ssl.SSLContext) -> httpx2.Proxy:
    try:
        # Only for a proxy that is itself reached by TLS.
        return httpx2.Proxy(proxy.url, ssl_context=context if proxy.url.startswith("https:") else None)
    except (ValueError, httpx2.InvalidURL):
        raise ProviderError(ErrorKind.MISCONFIGURED, f"{proxy.variable} holds no address of a proxy") from None


class Client(httpx2.Client):
    """For one model's requests."""

    proxy: Proxy | None = None
    """What stands before its server."""


def http_client(config: ModelConfig, url: str) -> Client:
    """For one model's requests to this URL. Raises ProviderError when none can be made."""
    environment = {} if config.weights else os.environ
    options = connection_options(url, environment)
    try:
        client = Client(
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
            headers={"Accept-Encoding": "identity", "Accept": "text/event-stream, application/json"},
            **options,
        )
        client.proxy = proxy_for(url, environment)
    except (ValueError, ImportError, OSError, httpx2.InvalidURL) as error:
        raise ProviderError(ErrorKind.MISCONFIGURED, f"no client can be made: {type(error).__name__}") from None
    return client


def api_key(config: ModelConfig, local_key: str) -> str:
    """The model's key; with weights of its own, that of the local server. Raises ProviderError when it is missing, or
    one that no header can carry."""
    name = "SWITCHBOARD_MODEL_KEY" if config.weights else config.api_key_env
    key = local_key if config.weights else os.environ.get(name, "").strip() if name else ""
    if not (key.isascii() and key.isprintable()):
        raise ProviderError(ErrorKind.MISCONFIGURED, f"{name} holds characters that no key has")
    if config.api_key_env and not config.weights and not key:
        raise ProviderError(ErrorKind.MISSING_KEY, f"{name} is not set")
    # Servers without authentication ignore it; gateways before them may want to see some key.
    return key or "none"


def endpoint(base_url: str, path: str) -> str:
    """The URL of a protocol's requests. The base may have a query, and some of the path already."""
    url = urlsplit(base_url)
    have, want = url.path.rstrip("/").split("/"), path.strip("/").split("/")
    common = next(size for size in range(len(want), -1, -1) if have[len(have) - size :] == want[:size])
    return url._replace(path="/".join([*have, *want[common:]])).geturl()


class Call:
    """One request, which can be cut from another thread at any moment."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._timeouts: dict[str, float | None] = {}
        self._patience: float | None = None
        self._progress = RequestProgress("", None)
        self.aborted = False
        """Whether the rest is no longer wanted."""

    def abort(self) -> None:
        """Close the connection, whatever it waits for."""
        self.aborted = True
        # Closing a socket does not wake a thread that reads from it; shutting it down does.
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def send(self, client: Client, url: str, headers: Mapping[str, str], body: bytes) -> Generator[bytes, None, None]:
        """The body of the response, decompressed, as it comes. Raises ProviderError, or RequestRefused for a status
        that is no success. A redirect is none: a conversation and a key go to the configured address only."""
        if self.aborted:
            raise ProviderError(ErrorKind.BROKEN_STREAM, "aborted before it was asked")
        self._progress = RequestProgress(url, client.proxy)
        try:
            request = client.build_request(
                "POST",
                url,
                content=body,
                headers={"Content-Type": "application/json", **headers},
                extensions={"trace": self._trace},
            )
            self._timeouts = request.extensions["timeout"]
            self._patience = self._timeouts["read"]
            self._timeouts["read"] = self._timeouts["connect"]  # a proxy is not given a model's time
            response = client.send(request, stream=True)
            try:
                yield from self._pieces(response)
            finally:
                response.close()
        except (ProviderError, RequestRefused):
            raise
        except Exception as error:
            # Not `from error`: the message may quote the server, and a traceback would quote it.
            raise connection_error(error, self._progress) from None

    def _pieces(self, response: httpx2.Response) -> Iterator[bytes]:
        encodings = response.headers.get_list("Content-Encoding", split_commas=True)
        if not response.is_success:
            raise RequestRefused(complaint_of(_refusal(response, encodings), response.status_code, response.headers))
        for piece in decompressed(response.iter_raw(), encodings):
            if self.aborted:
                return
            yield piece

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        """What the HTTP client does. A server may take its time before the head of its response, so the connection
        is known from the moment at which it stands."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self.aborted:
                self.abort()
        already = self._progress.sent
        self._progress.observe(event, info["request"].method if "request" in info else b"")
        if self._progress.sent and not already:
            self._timeouts["read"] = self._patience


def _refusal(response: httpx2.Response, encodings: list[str]) -> Any:
    """What a refusal says: its JSON, or its text; as much of it as comes soon. It might be endless."""
    response.request.extensions["timeout"]["read"] = ERROR_BODY_TIMEOUT
    patience = time.monotonic() + ERROR_BODY_TIMEOUT
    body = bytearray()
    with contextlib.suppress(httpx2.HTTPError, ProviderError):
        for piece in decompressed(response.iter_raw(), encodings):
            body += piece
            if len(body) >= MAX_ERROR_BODY or time.monotonic() > patience:
                break
    del body[MAX_ERROR_BODY:]
    try:
        return parsed(bytes(body))
    except ProviderError:
        return body.decode(errors="replace")
