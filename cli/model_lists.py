"""What the models' servers say they have: asked for their lists, which cost nothing."""

import asyncio
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from difflib import get_close_matches
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cli.advice import advice, advised, explained, explanation, printable
from cli.finding import Finding
from cli.models import LocalServer
from core.llm.catalog import ModelCatalog
from core.llm.cooldown import Cooldown
from core.llm.model_config import ModelConfig
from core.llm.providers.base import ErrorKind, ProviderError
from core.llm.providers.errors import as_provider_error, complaint_of
from core.llm.providers.http_client import Client
from core.llm.providers.redaction import redacted
from core.llm.providers.wire import api_key, endpoint
from core.text.masking import masked, secrets_of

LIST_TIMEOUT = 5.0
"""Seconds for a whole answer; all servers are asked at once."""
CONNECT_TIMEOUT = 2.0
"""Seconds of them until the server is asked."""
MAX_LIST_SIZE = 8 * 1024 * 1024
"""Bytes."""
SIMILARITY_CUTOFF = 0.7
"""Of difflib's likeness, from 0 to 1: a slip or two, or another size of the same model."""
CHECK_HINT = "`switchboard models --check` asks the model itself, for a token or so."

_DATE = re.compile(r"[-@]\d{4}-?\d{2}-?\d{2}$")


class Reply(NamedTuple):
    """What a server has answered with."""

    status: int
    body: bytes

    @property
    def document(self) -> Any:
        """The body's JSON; None for one that is not JSON, or not whole."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def is_something_else(self) -> bool:
        """Whether it is no JSON, such as a web page, though all of it has been read."""
        return self.document is None and len(self.body) < MAX_LIST_SIZE


def look_at_models(catalog: ModelCatalog, server: LocalServer) -> Iterator[Finding]:
    """For each model, whether its server answers, and whether it lists the model."""

    async def look() -> list[Finding]:
        return await asyncio.gather(*(_look_at(name, model, server) for name, model in catalog.models.items()))

    yield from asyncio.run(look())


async def _look_at(name: str, model: ModelConfig, server: LocalServer) -> Finding:
    url, headers = list_url(model, server), {"Accept-Encoding": "identity"}
    try:
        key = api_key(model, server.key)
        headers["Authorization"] = f"Bearer {key}"
        if model.provider == "anthropic":
            headers |= {"X-Api-Key": key, "anthropic-version": "2026-10-21"}
        reply = await _get(url, headers, {} if model.weights else os.environ)
    except ProviderError as error:
        return Finding("model", f"{name}: {explained(error, model)}", advised(error, model))
    return judge_reply(name, model, url, reply, key)


def list_url(model: ModelConfig, server: LocalServer) -> str:
    """Where a model's server has its list, also when base_url has a query, or is that of the answers."""
    base = urlsplit(str(model.base_url or server.url))
    path = base.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/messages")
    at_anthropic = model.provider == "anthropic"
    query = "&".join(filter(None, (base.query, "limit=1000" if at_anthropic else "")))
    return endpoint(base._replace(path=path, query=query).geturl(), "/v1/models" if at_anthropic else "/models")


async def _get(url: str, headers: dict[str, str], environment: Mapping[str, str]) -> Reply:
    """Raises ProviderError."""
    client = Client(url, connect_timeout=CONNECT_TIMEOUT, head_timeout=LIST_TIMEOUT, environment=environment)
    try:
        async with asyncio.timeout(LIST_TIMEOUT):
            response = await client.send(headers)
            with closing(response):
                body = bytearray()
                while len(body) <= MAX_LIST_SIZE and (piece := await response.read()):
                    body += piece
                return Reply(response.status, bytes(body[:MAX_LIST_SIZE]))
    except TimeoutError:
        raise ProviderError(ErrorKind.TIMEOUT, f"no answer within {LIST_TIMEOUT:g} s") from None


def judge_reply(name: str, model: ModelConfig, url: str, reply: Reply, key: str) -> Finding:
    """What a server's answer to the question for its list means for one of its models."""
    address = masked(url.partition("?")[0])
    if reply.status == 200:
        listed = listed_names(reply.document)
        if reply.is_something_else:
            detail = f"{name}: {address} answers, but not with JSON"
            return Finding("model", detail, f"Correct base_url, unless the server has no list. {CHECK_HINT}", True)
        if not listed or model.weights or is_listed(model.model, listed):
            return Finding("model", f"{name}: its server answers{' and lists it' if listed else ''}")
        likely = printable(suggest_instead(model.model, listed))
        detail = f"{name}: its server answers, and does not list {model.model}; {likely}"
        return Finding(
            "model", detail, f"Correct `model`, unless the server knows it all the same. {CHECK_HINT}", True
        )
    complaint = complaint_of(reply.document or reply.body.decode(errors="replace"), reply.status)
    said = printable(redacted(complaint.message, (), key, *secrets_of(url), names=[model.model]))
    if reply.status in (404, 405, 501):
        detail = f"{name}: {address} answers {reply.status}{f': {said}' if said else ''}"
        return Finding("model", detail, f"Correct base_url, unless the server has no list. {CHECK_HINT}", True)
    error = as_provider_error(complaint, said)
    return Finding("model", f"{name}: {explained(error, model)}", advised(error, model))


def with_cooldown(name: str, model: ModelConfig, found: Finding, cooldown: Cooldown | None) -> Finding:
    """What was found of a model, and its cooldown, if there is one, as one finding. A fact is told once."""
    if cooldown is None:
        return found
    detail = f"{name} rests for all: {explanation(cooldown.kind, model, cooldown.provider_message)}"
    looked = found.detail.removeprefix(f"{name}: ")
    if not looked.startswith(explanation(cooldown.kind, model, "")):
        detail = f"{detail.rstrip('.')}; now {looked}"
    return Finding("model", detail, found.remedy if found.fails else advice(cooldown.kind, model))


def suggest_instead(model: str, listed: list[str]) -> str:
    """Names of a list that may be meant, or the first of all."""
    if near := get_close_matches(model, listed, n=3, cutoff=SIMILARITY_CUTOFF):
        return f"nearest: {', '.join(near)}"
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return f"it lists {', '.join(listed[:3])}{more}"


def listed_names(document: Any) -> list[str]:
    """The models' names in a server's list, whichever of the usual shapes it has; none when it is no list."""
    entries = document
    if isinstance(document, dict):
        entries = next((found for key in ("data", "models") if isinstance(found := document.get(key), list)), None)
    if not isinstance(entries, list):
        return []
    objects = [entry for entry in entries if isinstance(entry, dict)]
    names = [entry.get("id", entry.get("name")) for entry in objects]
    return [name for name in names if isinstance(name, str) and 0 < len(name) <= 200]


def is_listed(model: str, listed: Iterable[str]) -> bool:
    """Whether a list has the model, by one of the names that servers take for the same: without Gemini's `models/`,
    Ollama's `:latest`, OpenRouter's variant after a colon, the date of a snapshot."""
    names = {name.removeprefix("models/") for name in listed}
    names |= {_DATE.sub("", name) for name in names} | {name.removesuffix(":latest") for name in names}
    wanted = model.removeprefix("models/")
    return not names.isdisjoint({wanted, wanted.removesuffix("-latest"), wanted.partition(":")[0]})
