"""Which variant of a conversation is tried after which failure."""

import pytest

from core.generation.failure import EmptyAnswer
from core.generation.prompt_variants import OF_ITS_WORDS, OF_THE_CONVERSATION, PromptVariant, Scope, next_variant
from core.llm.providers.base import ErrorKind, ProviderError


def _ladder(error: ProviderError, *, prefill: bool = False, doubtful: bool = True) -> list[PromptVariant]:
    """All the variants that are tried when the error comes each time."""
    variants = [PromptVariant(prefill)]
    while (last := variants[-1]) and (
        variant := next_variant(last, error, prefilled=last.prefill, doubtful=doubtful)
    ) is not None:
        variants.append(variant)
        assert len(variants) < 10
    return variants


@pytest.mark.parametrize("kind", ErrorKind)
def test_each_kind_has_its_steps_down_to_an_end(kind: ErrorKind) -> None:
    scopes = [variant.scope for variant in _ladder(ProviderError(kind))]
    assert (
        scopes
        == [Scope.ALL, Scope.ANSWERED, Scope.NONE][: 1 + (kind in OF_THE_CONVERSATION) + (kind in OF_ITS_WORDS)]
    )


def test_what_has_nothing_to_do_with_what_is_asked() -> None:
    assert sorted(set(ErrorKind) - OF_THE_CONVERSATION) == [
        "misconfigured",
        "missing-key",
        "quota",
        "rate-limited",
        "too-long",  # has steps of its own
        "unreachable",
    ]


@pytest.mark.parametrize("kind", ErrorKind)
def test_a_question_that_fails_first_is_not_asked_again(kind: ErrorKind) -> None:
    assert len(_ladder(ProviderError(kind), doubtful=False)) == 1


@pytest.mark.parametrize("doubtful", [False, True])
@pytest.mark.parametrize("kind", [ErrorKind.REJECTED, ErrorKind.SERVER_ERROR])
def test_a_server_that_does_not_continue_a_turn_is_asked_to_go_on_in_words(kind: ErrorKind, doubtful: bool) -> None:
    assert _ladder(ProviderError(kind), prefill=True, doubtful=doubtful)[1] == PromptVariant(False)
    assert not _ladder(ProviderError(ErrorKind.RATE_LIMITED), prefill=True, doubtful=doubtful)[1:]


def test_thinking_that_took_all_the_room_is_no_trouble_of_the_conversation() -> None:
    assert len(_ladder(EmptyAnswer("length", thought=True))) == 1
    assert len(_ladder(EmptyAnswer("stop", thought=True))) == 2
