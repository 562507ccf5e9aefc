"""What the servers of models send, byte for byte, written after their public documentation: one file a provider, and
one of many."""

import importlib

from tests.servers.case import Case

PROVIDERS = (
    "openai",
    "azure",
    "mistral",
    "groq",
    "openrouter",
    "deepseek",
    "vllm",
    "ollama",
    "lm_studio",
    "llama_cpp",
    "gemini",
    "anthropic",
    "others",
)

CASES: dict[str, Case] = {
    f"{provider}: {variant}": case
    for provider in PROVIDERS
    for variant, case in importlib.import_module(f"{__name__}.{provider}").CASES.items()
}
"""By the provider's name and what is told."""
