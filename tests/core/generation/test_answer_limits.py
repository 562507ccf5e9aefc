"""The limits that a request sets hold for its whole answer, however many models write it."""

from core.generation import usage
from core.generation.answer_requests import AnswerRequest
from core.llm.providers.base import Sampling, Turn
from core.runtime import Runtime
from tests.conftest import new_user
from tests.core.generation.asking import Asked
from tests.support.provider import ANSWER, HALF, ProviderServer


def _written(runtime: Runtime, sampling: Sampling) -> Asked:
    request = AnswerRequest((Turn("user", "Why?"),), sampling)
    taken = runtime.generations.answer_request(new_user(runtime.database), "falls-back-midway", request)
    asked = Asked(runtime, taken.session, taken.accepted.generation_id)
    runtime.writer.run()
    return asked


def test_who_carries_on_is_asked_for_what_is_left(runtime: Runtime, provider: ProviderServer) -> None:
    written = usage.tokens(ANSWER[:HALF])
    asked = _written(runtime, Sampling(max_tokens=50))
    assert asked.told().text == ANSWER
    assert provider.requests[-1]["max_tokens"] == 50 - written

    asked = _written(runtime, Sampling(max_tokens=written))
    kind, end = asked.events()[-1]
    assert (asked.told().text, kind, end["finish_reason"]) == (ANSWER[:HALF], "done", "length")
    assert end["usage"]["completion_tokens"] == written


def test_a_stop_sequence_may_begin_with_one_model_and_end_with_another(runtime: Runtime) -> None:
    before, sequence = ANSWER[: HALF - 3], ANSWER[HALF - 3 : HALF + 4]
    asked = _written(runtime, Sampling(stop=(sequence,)))
    kind, end = asked.events()[-1]
    assert "fallback" in asked.kinds()
    assert (asked.told().text, kind, end["finish_reason"]) == (before, "done", "stop")
    assert _written(runtime, Sampling(stop=(sequence[:3] + "other",))).told().text == ANSWER
