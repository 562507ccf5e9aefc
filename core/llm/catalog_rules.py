"""What a table of `models.toml` may not say, and what would be right: pure, over a table whose types are right."""

import ipaddress
import math
import re
from collections.abc import Iterator
from typing import Any

from core.llm.model_config import ANTHROPIC_HOST, ModelConfig
from core.text.characters import blank, fits_one_line

LEAST_THINKING = 1024
"""Tokens that Anthropic's protocol lets a model think for at the least."""
FIXED = ("model", "messages", "stream")
"""What has a key of its own, or no other name."""
STREAM = "stream"
"""Of those, what may be left out: the answer comes as one document then."""
REQUIRED = {"openai": (), "anthropic": ("max_tokens",)}
"""What else a protocol can't do without."""
PARAMETERS = {
    "openai": ("max_tokens", "max_completion_tokens", "temperature", "reasoning_effort", "stream_options"),
    "anthropic": ("max_tokens", "temperature", "thinking", "output_config"),
}
"""What else a request of the protocol may have."""
SYSTEM = "system"
"""What stands among them for the system's role."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def contradictions(model: ModelConfig) -> Iterator[tuple[str, str]]:
    """Keys that can't be meant so, each with what would be right."""
    yield from _of_the_address(model)
    yield from _of_the_figures(model)
    yield from _of_the_parameters(model)
    for key in ("label", "model", "reasoning_effort"):
        value = getattr(model, key)
        if value is not None and (blank(value) or not fits_one_line(value)):
            yield key, "must be one line of text"
    if model.api_key_env is not None and not _VARIABLE.fullmatch(model.api_key_env):
        # Not repeated: it may be the key.
        if model.api_key_env.startswith("$") and _VARIABLE.fullmatch(model.api_key_env.strip("${}")):
            yield "api_key_env", "must be the variable's name alone, without $ or braces"
        yield "api_key_env", "must be the name of an environment variable that holds the key, not the key"
    if len(set(model.fallback)) < len(model.fallback):
        yield "fallback", "names a model twice"


def _of_the_address(model: ModelConfig) -> Iterator[tuple[str, str]]:
    if model.provider == "anthropic" and model.weights:
        yield "weights", 'the local server is asked as provider = "openai"'
    if (model.base_url is None) == (model.weights is None):
        yield "base_url", "give either base_url or weights"
    if model.base_url:
        host = model.base_url.host or ""
        if not is_host(host):
            yield "base_url", f"no server can have the name {host[:100]!r}; it is like api.example.org, or 10.0.0.1"
        if model.base_url.port == 0:
            yield "base_url", "no server has the port 0"


def _of_the_figures(model: ModelConfig) -> Iterator[tuple[str, str]]:
    at_anthropic = model.provider == "anthropic"
    if model.base_url and model.base_url.host == ANTHROPIC_HOST and model.temperature is not None:
        yield "temperature", "Anthropic's own API takes none"
    for key, other in (("input_price", "output_price"), ("output_price", "input_price")):
        if getattr(model, key) is None and getattr(model, other) is not None:
            yield key, f"goes with {other}; it may be 0"
    if model.max_tokens >= model.context_tokens:
        yield "max_tokens", "must be less than context_tokens"
    if model.max_tokens + (model.thinking_budget or 0) >= model.context_tokens:
        yield "thinking_budget", "together with max_tokens it must be less than context_tokens"
    if at_anthropic and model.thinking_budget and model.thinking_budget < LEAST_THINKING:
        yield "thinking_budget", f"must be at least {LEAST_THINKING} in this protocol"
    if at_anthropic and model.thinking_budget and model.prefill:
        yield "prefill", "a model with a thinking_budget takes none in this protocol"


def _of_the_parameters(model: ModelConfig) -> Iterator[tuple[str, str]]:
    for key in ("omit", "rename", "extra_body"):
        names = getattr(model, key)
        for name in (*names, *names.values()) if key == "rename" else names:
            if name in FIXED and not (key == "omit" and name == STREAM):
                yield key, f"no request can do without {name}" if key == "omit" else f"{name} has keys of its own"
    for name in model.omit:
        if name in REQUIRED[model.provider]:
            yield "omit", f"no request of this protocol can do without {name}"
    known = (*PARAMETERS[model.provider], STREAM, SYSTEM)
    for key, named in (("omit", known), ("rename", known[:-2])):
        for name in getattr(model, key):
            if name not in (*named, *FIXED, *model.extra_body):
                yield key, f"{name[:100]!r} is in no request; what is: {', '.join(named)}"
    called = list(model.rename.values())
    for name in called:
        if called.count(name) > 1:
            yield "rename", f"only one parameter can be called {name}"
    yield from _no_json(model.extra_body, "extra_body")


def is_host(host: str) -> bool:
    """Whether a server can have this name or address."""
    try:
        return bool(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        name = host.removesuffix(".")
        return len(name) <= 253 and all(map(_LABEL.fullmatch, name.split(".")))


def _no_json(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """The places whose values TOML can say, and JSON can't."""
    match value:
        case dict():
            for name, each in value.items():
                yield from _no_json(each, f"{place}.{name}")
        case list():
            for number, each in enumerate(value):
                yield from _no_json(each, f"{place}.{number}")
        case float() if not math.isfinite(value):
            yield place, "must be a finite number: it goes as JSON"
        case str() | bool() | int() | float():
            pass
        case _:
            yield place, "must be a text, in quotes: JSON has no dates or times"
