"""What the wire protocols have in common: where and with which key a model is asked, and what a refusal says."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from core.llm.model_config import ModelConfig
from core.llm.providers.base import ErrorKind, ProviderError
from core.llm.providers.errors import RequestRefused, complaint_of
from core.llm.providers.events import parsed
from core.llm.providers.http_client import Client, Response
from core.text.secret_files import UnreadableSecret, read_secret

MAX_ERROR_BODY = 16 * 1024
"""Bytes of a refusal's body that are read."""
ERROR_BODY_TIMEOUT = 2.0
"""Seconds for them."""
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "text/event-stream, application/json",
    # Compressed events wait for one another.
    "Accept-Encoding": "identity",
}


def http_client(config: ModelConfig, url: str) -> Client:
    """For one model's requests to this URL. Raises ProviderError when none can be made."""
    return Client(
        url,
        connect_timeout=config.connect_timeout,
        head_timeout=max(config.first_token_timeout, config.between_tokens_timeout),
        environment={} if config.weights else os.environ,
    )


def _configured_key(name: str) -> str:
    try:
        return read_secret(name)
    except UnreadableSecret as error:
        raise ProviderError(ErrorKind.MISCONFIGURED, str(error)) from None


def api_key(config: ModelConfig, local_key: str) -> str:
    """The model's key; with weights of its own, that of the local server. Raises ProviderError when it is missing, or
    one that no header can carry."""
    name = "SWITCHBOARD_MODEL_KEY" if config.weights else config.api_key_env
    key = local_key if config.weights else _configured_key(name) if name else ""
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


async def ask(client: Client, headers: Mapping[str, str], body: bytes, when_sent: Callable[[], None]) -> Response:
    """The response to a request, to be read and closed; `when_sent` is called when the request is on its way. Raises
    ProviderError, or RequestRefused for a status that is no success. A redirect is none: a conversation and a key go
    to the configured address only."""
    response = await client.send({**HEADERS, **headers}, body, when_sent)
    if 200 <= response.status < 300:
        return response
    try:
        raise RequestRefused(complaint_of(await _refusal(response), response.status, response.headers))
    finally:
        response.close()


async def _refusal(response: Response) -> Any:
    """What a refusal says: its JSON, or its text; as much of it as comes soon. It might be endless."""
    body = bytearray()
    with contextlib.suppress(TimeoutError, ProviderError):
        async with asyncio.timeout(ERROR_BODY_TIMEOUT):
            while len(body) < MAX_ERROR_BODY and (piece := await response.read()):
                body += piece
    del body[MAX_ERROR_BODY:]
    try:
        return parsed(bytes(body))
    except ProviderError:
        return body.decode(errors="replace")
