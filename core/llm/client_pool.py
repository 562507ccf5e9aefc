"""ClientPool: the models on offer and the clients that reach them."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any

from core.errors import UnknownModel
from core.llm.catalog import ModelCatalog
from core.llm.model_config import ModelConfig
from core.llm.prices import FREE, Price
from core.llm.providers.base import NO_SAMPLING, ChunkStream, Provider, ProviderError, RequestedAnswer, Sampling, Turn
from core.text.secret_files import has_secret

PROBE_PARAMETERS = {"max_tokens": 1, "thinking_budget": None}
"""What a probe asks for instead of an answer: as little as a request can."""


class ClientPool:
    """Models by name. A client is made when it is first needed, and kept."""

    def __init__(self, catalog: ModelCatalog, local_url: str, local_key: str = "") -> None:
        """`local_url` and `local_key`: where the local model server listens, and what it wants to be shown."""
        self._catalog = catalog
        self._local_url = local_url
        self._local_key = local_key
        self._providers: dict[tuple[str, bool], Provider] = {}
        self._lock = Lock()

    @property
    def default(self) -> str:
        """The name of the model that a new session begins with."""
        return self._catalog.default

    @property
    def system_prompt(self) -> str:
        """What every conversation begins with, or nothing."""
        return self._catalog.system_prompt

    @property
    def currency(self) -> str:
        """Of the prices, by ISO 4217."""
        return self._catalog.currency

    def price(self, name: str) -> Price:
        """What the model's answers cost: nothing, where none is named or the model has been retired."""
        return self._catalog.models[name].price if name in self._catalog.models else FREE

    @property
    def demonstration(self) -> str | None:
        """The label of the default model where all on offer are the local one; None where another is connected."""
        models = self._catalog.models
        return models[self.default].label if all(model.weights for model in models.values()) else None

    def require(self, name: str) -> None:
        """Raise UnknownModel unless the model is on offer."""
        if name not in self._catalog.models:
            raise UnknownModel(field="model")

    def offered(self, name: str) -> str:
        """The model itself or, when it has been retired, the default one."""
        return name if name in self._catalog.models else self.default

    def config(self, name: str) -> ModelConfig:
        """The model's table. Raises UnknownModel."""
        self.require(name)
        return self._catalog.models[name]

    def chain(self, name: str) -> list[str]:
        """The models that may answer in this one's place, itself first. Empty when it has been retired."""
        return [name, *self.config(name).fallback] if name in self._catalog.models else []

    def base_url(self, name: str) -> str:
        """Where the model's server listens."""
        base_url = self.config(name).base_url
        return self._local_url if base_url is None else str(base_url).rstrip("/")

    def open(self, name: str, turns: Sequence[Turn], sampling: Sampling = NO_SAMPLING) -> RequestedAnswer:
        """A model's answer to be. Raises UnknownModel, or ProviderError when it can't be asked: its key is missing,
        or what the environment says about proxies and certificates is wrong."""
        return self._provider(name).open(turns, sampling)

    def probe(self, name: str) -> ChunkStream:
        """An answer of one token to a greeting: whether the model answers at all. Raises as `open` does."""
        return self._provider(name, PROBE_PARAMETERS).open([Turn("user", "Hi")])

    def warm(self) -> None:
        """Make every client now, so that the first answer does not wait for it."""
        for name in self._catalog.models:
            with suppress(ProviderError):  # which comes again when the model is asked, and is dealt with there
                self._provider(name)

    @property
    def names(self) -> list[str]:
        """The models on offer."""
        return list(self._catalog.models)

    def describe(self, unwell: Collection[str] = ()) -> dict[str, Any]:
        """The models on offer, as the wire has them; those that are unwell are not available."""
        return {
            "default": self.default,
            "models": [
                {
                    "name": name,
                    "label": config.label,
                    "provider": config.provider,
                    "context_tokens": config.context_tokens,
                    "available": name not in unwell and _has_key(config),
                }
                for name, config in self._catalog.models.items()
            ],
        }

    def _provider(self, name: str, changes: Mapping[str, Any] | None = None) -> Provider:
        from core.llm.providers.model import make  # with an HTTP client, that the web process need not load

        config = self.config(name).model_copy(update=changes)
        made = (name, changes is not None)
        with self._lock:
            if made not in self._providers:
                self._providers[made] = make(config, self.base_url(name), self._local_key)
            return self._providers[made]


def _has_key(config: ModelConfig) -> bool:
    return config.api_key_env is None or has_secret(config.api_key_env)
