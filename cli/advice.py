"""Why a model does not answer, and what its operator can do about it."""

from typing import NamedTuple

from core.masking import masked
from core.model_config import ModelConfig
from core.providers import ErrorKind, ProviderError


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
START = "Start the system: switchboard up"
"""For the local model, whose address and key the system sees to."""


def explanation(kind: ErrorKind, model: ModelConfig, said: str) -> str:
    """What is wrong, with the provider's own words, if there are any."""
    wrong = ADVICE[kind].wrong.format(**_names(model))
    return f"{wrong}: {printable(said)}" if said and said != wrong else wrong


def explained(error: ProviderError, model: ModelConfig) -> str:
    """What is wrong, with all that is known of the error."""
    known = (
        f"{error.said} ({error.log_detail})" if error.said and error.log_detail else error.said or error.log_detail
    )
    return explanation(error.kind, model, known)


def advice(kind: ErrorKind, model: ModelConfig) -> str:
    """What to do."""
    at_home = model.weights and kind in (ErrorKind.UNREACHABLE, ErrorKind.UNAUTHORIZED, ErrorKind.BROKEN_STREAM)
    return START if at_home else ADVICE[kind].remedy.format(**_names(model))


def printable(text: str) -> str:
    """One line that does nothing to a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _names(model: ModelConfig) -> dict[str, str]:
    server = "the local server" if model.weights else masked(str(model.base_url)).rstrip("/")
    return {"model": model.model, "key": model.api_key_env or "api_key_env", "server": server}
