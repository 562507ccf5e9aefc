"""Why a model does not answer, and what its operator can do about it."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from core.llm.model_config import ModelConfig
from core.llm.providers.base import ErrorKind, ProviderError
from core.text.masking import masked


class Advice(NamedTuple):
    """Both with `{model}`, what the server is asked for, `{key}`, the variable of its key, and `{server}`."""

    wrong: str
    remedy: str


ADVICE = {
    ErrorKind.UNREACHABLE: Advice(
        "{server} can't be reached",
        "Start that server, or correct base_url. There may be a proxy between: see HTTPS_PROXY, ALL_PROXY, NO_PROXY.",
    ),
    ErrorKind.TIMEOUT: Advice(
        "{server} did not begin to answer in time", "See what keeps it busy. It may be loading the model: ask again."
    ),
    ErrorKind.MISCONFIGURED: Advice(
        "no connection to {server} can be made", "Correct what is named: a proxy, a certificate, or {key}."
    ),
    ErrorKind.MISSING_KEY: Advice("{key} is not set", "Set {key} where the system is started, or in its .env."),
    ErrorKind.UNAUTHORIZED: Advice("{server} refused the key", "Correct {key}, or what it may be used for."),
    ErrorKind.MODEL_NOT_FOUND: Advice(
        "{server} knows no model {model}", "Correct `model`, or base_url when the server is another one."
    ),
    ErrorKind.QUOTA: Advice("the quota at {server} is used up", "Raise it, or pay, at the provider."),
    ErrorKind.RATE_LIMITED: Advice(
        "{server} is overloaded, or was asked too often", "Wait; if it comes again, lower max_concurrency."
    ),
    ErrorKind.TOO_LONG: Advice("{server} found the question too long", "Correct context_tokens and max_tokens."),
    ErrorKind.FILTERED: Advice("a filter at {server} refused the question", "See the filter's settings there."),
    ErrorKind.REJECTED: Advice(
        "{server} did not accept the request", "Leave out or rename what it names, with `omit` and `rename`."
    ),
    ErrorKind.EMPTY: Advice(
        "{server} gave no answer",
        "See that server's log, its template for chats, and whether {model} is a model that answers.",
    ),
    ErrorKind.SERVER_ERROR: Advice("{server} had an error of its own", "See that server's log, or wait."),
    ErrorKind.BROKEN_STREAM: Advice(
        "{server} did not answer as a model's server does",
        "See that base_url is the API's: as a rule it ends with /v1 for `openai`, and before it for `anthropic`.",
    ),
}
NO_MODELS_SERVER = Advice(
    "{server} answers, but not as a model's server does",
    "Correct base_url: as a rule it ends with /v1 for `openai`, and before it for `anthropic`.",
)
"""For an address where something listens that has no such path, or sends elsewhere: it was reached."""
IN_EXTRA_BODY = "Take {name} out of `extra_body`, whose parameters are sent as they are, or correct it there."
"""For a parameter that no other key of the table has made."""
GATEWAYS = 500
"""The HTTP status from which it is a gateway that could not reach the server."""
_BEFORE_A_WORD = r"(?:['\"`.]|\b(?:parameter|argument|field|property|input|key)s?:? )"
START = "Start the system: switchboard up"
"""For the local model, whose address and key the system sees to."""


def explanation(kind: ErrorKind, model: ModelConfig, said: str) -> str:
    """What is wrong, with the provider's own words, if there are any."""
    return _with_words(ADVICE[kind], model, said)


def explained(error: ProviderError, model: ModelConfig) -> str:
    """What is wrong, with all that is known of the error."""
    known = (
        f"{error.provider_message} ({error.log_detail})"
        if error.provider_message and error.log_detail
        else error.provider_message or error.log_detail
    )
    return _with_words(_of(error), model, known)


def advice(kind: ErrorKind, model: ModelConfig) -> str:
    """What to do."""
    at_home = model.weights and kind in (ErrorKind.UNREACHABLE, ErrorKind.UNAUTHORIZED, ErrorKind.BROKEN_STREAM)
    return START if at_home else ADVICE[kind].remedy.format(**_names(model))


def advised(error: ProviderError, model: ModelConfig) -> str:
    """What to do, with all that is known of the error."""
    refused = _named_in_extra_body(error, model)
    if refused is not None:
        return IN_EXTRA_BODY.format(name=printable(refused))
    found = _of(error)
    return advice(error.kind, model) if found is ADVICE[error.kind] else found.remedy.format(**_names(model))


def printable(text: str) -> str:
    """One line that does nothing to a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _of(error: ProviderError) -> Advice:
    reached = error.status is not None and error.status < GATEWAYS
    return NO_MODELS_SERVER if reached and error.kind is ErrorKind.UNREACHABLE else ADVICE[error.kind]


def _with_words(found: Advice, model: ModelConfig, said: str) -> str:
    wrong = found.wrong.format(**_names(model))
    return f"{wrong}: {printable(said)}" if said and said != wrong else wrong


def _named_in_extra_body(error: ProviderError, model: ModelConfig) -> str | None:
    """The parameter of `extra_body`, at whatever depth, that a refusal names."""
    if error.kind is not ErrorKind.REJECTED:
        return None
    return next((name for name in _keys(model.extra_body) if _is_named(name, error.provider_message)), None)


def _is_named(name: str, said: str) -> bool:
    """Whether a sentence speaks of a parameter; of one whose name is a common word, such as `stop`, only where it
    stands as a name does."""
    before = _BEFORE_A_WORD if name.isalpha() else r"(?<![\w-])"
    return re.search(rf"{before}{re.escape(name)}(?![\w-])", said, re.IGNORECASE) is not None


def _keys(value: Any) -> Iterator[str]:
    """The names in the value, the innermost first."""
    match value:
        case dict():
            for name, each in value.items():
                yield from _keys(each)
                yield name
        case list():
            for each in value:
                yield from _keys(each)


def _names(model: ModelConfig) -> dict[str, str]:
    server = "the local server" if model.weights else masked(str(model.base_url)).rstrip("/")
    return {"model": model.model, "key": model.api_key_env or "api_key_env", "server": server}
