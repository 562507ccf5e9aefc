"""What the provider layer makes of each recorded stream, over a real socket, however the network cuts it."""

import tomllib

import pytest

from core.llm.catalog import ModelCatalog
from core.llm.client_pool import ClientPool
from core.llm.providers.base import ProviderError
from tests.servers.case import Case
from tests.servers.heard import check_said, hear
from tests.servers.replay import CUTS, GOOD, Replay, model_name
from tests.servers.streams import CASES


@pytest.fixture(scope="module")
def catalog(replay: Replay) -> ModelCatalog:
    """Every model of the server."""
    return ModelCatalog.model_validate(tomllib.loads(replay.models_toml()))


@pytest.fixture
def pool(catalog: ModelCatalog) -> ClientPool:
    """A pool that has learned nothing yet."""
    return ClientPool(catalog, local_url="")


ANSWERS = [name for name, case in CASES.items() if not case.error and not case.refuses]
FAILURES = [name for name, case in CASES.items() if case.error]
REFUSALS_OF_A_PARAMETER = [name for name, case in CASES.items() if case.refuses]


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_heard_as_it_was_meant(replay: Replay, pool: ClientPool, name: str) -> None:
    case = CASES[name]
    for how, replay.cut in CUTS.items():
        heard = hear(pool, model_name(name))
        assert heard.error is None, f"{how}: {heard.error}: {heard.error and heard.error.provider_message}"
        assert heard[:3] == (case.text, case.thinking, case.finish_reason), how
        assert heard.usage == case.usage or not case.usage, how


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_known_for_what_it_is(replay: Replay, pool: ClientPool, name: str) -> None:
    case = CASES[name]
    for how, replay.cut in CUTS.items():
        heard = hear(pool, model_name(name))
        assert heard.error is not None, how
        assert (heard.error.kind, heard.text) == (case.error, case.text), how
        assert heard.error.retry_after == case.retry_after, how
        _check_figures(heard.error, case)
        check_said(heard.error)


def _check_figures(error: ProviderError, case: Case) -> None:
    if case.tokens:
        assert error.prompt_tokens == case.tokens
    if case.limit:
        assert error.limit_tokens == case.limit


@pytest.mark.parametrize("name", REFUSALS_OF_A_PARAMETER)
def test_a_parameter_that_a_server_refuses_is_left_out_once_and_for_all(
    replay: Replay, pool: ClientPool, name: str
) -> None:
    refused, before = CASES[name].refuses, len(replay.requests)
    for _ in range(2):
        heard = hear(pool, model_name(name))
        assert (heard.text, heard.finish_reason, heard.error) == (GOOD, "stop", None)
    assert [refused in request for request in replay.requests[before:]] == [True, False, False]
