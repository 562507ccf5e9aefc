"""Which exchanges are told again after an answer has failed, was stopped or refused, or has not come."""

from dataclasses import replace

import pytest

from core.conversation.message import Message
from core.generation.prompt_variants import PromptVariant, Scope
from core.llm.providers.base import Turn
from tests.core.generation.conversations import ROOMY, answered, asked, conversation, failed, fitted


@pytest.mark.parametrize("nothing", ["", " ", "\n\n", "\u00a0\u2003"])
def test_a_question_that_was_not_answered_is_asked_with_the_next(nothing: str) -> None:
    messages = [asked("one"), answered(nothing), asked("two"), failed("server-error", nothing), asked("three")]
    assert fitted(ROOMY, "", messages).turns == [Turn("user", "one\n\ntwo\n\nthree")]


def test_what_there_is_of_a_stopped_or_failed_answer_is_part_of_the_conversation() -> None:
    messages = [asked("one"), failed("broken-stream", "Half an"), asked("two")]
    assert [turn.text for turn in fitted(ROOMY, "", messages).turns] == ["one", "Half an", "two"]


REFUSED = [
    failed("filtered"),
    failed("filtered", "Half an"),
    answered("Half an", finish_reason="content_filter"),
    replace(answered(finish_reason="content_filter"), state="failed"),
]


@pytest.mark.parametrize("refused", REFUSED)
def test_what_a_filter_has_refused_is_not_sent_again(refused: Message) -> None:
    before = [*conversation("Hi", "Hello!"), asked("bad"), answered(""), asked("worse"), refused]
    prompt = fitted(ROOMY, "", [*before, asked("good")])
    assert [turn.text for turn in prompt.turns] == ["Hi", "Hello!", "good"]
    assert prompt.doubtful


@pytest.mark.parametrize("refused", [each for each in REFUSED if not each.text])
def test_what_was_answered_before_is_not_forgotten_for_any_number_of_those(refused: Message) -> None:
    messages = conversation("Hi", "Hello!")
    for _ in range(5):
        messages += [asked("bad"), refused]
        assert [turn.text for turn in fitted(ROOMY, "", [*messages, asked("good")]).turns] == ["Hi", "Hello!", "good"]


@pytest.mark.parametrize("cut", [each for each in REFUSED if each.text])
def test_nothing_is_told_before_answers_that_are_cut_again_and_again_until_one_is_not(cut: Message) -> None:
    """For what is asked, or for what came before; only the first would be refused at once."""
    messages = [*conversation("Hi", "Hello!"), asked("bad"), cut, asked("bad"), cut]
    assert [turn.text for turn in fitted(ROOMY, "", [*messages, asked("good")]).turns] == ["good"]
    messages += [*conversation("good", "Fine."), asked("better")]
    assert [turn.text for turn in fitted(ROOMY, "", messages).turns] == ["Hi", "Hello!", "good", "Fine.", "better"]


@pytest.mark.parametrize("reason", ["rejected", "server-error", "timeout"])
def test_what_has_no_answer_is_told_unless_the_scope_leaves_it_out(reason: str) -> None:
    messages = [*conversation("Hi", "Hello!"), asked("one"), failed(reason), asked("two"), failed(reason)]
    variants = {scope: PromptVariant(False, scope) for scope in Scope}
    asking = [*messages, asked("three")]
    told = {scope: fitted(ROOMY, "", asking, variant=variant) for scope, variant in variants.items()}
    assert {scope: [turn.text for turn in prompt.turns] for scope, prompt in told.items()} == {
        Scope.ALL: ["Hi", "Hello!", "one\n\ntwo\n\nthree"],
        Scope.ANSWERED: ["Hi", "Hello!", "three"],
        Scope.NONE: ["three"],
    }
    assert all(prompt.doubtful for prompt in told.values())
    assert not fitted(ROOMY, "", conversation("Hi", "Hello!", "one")).doubtful


@pytest.mark.parametrize("text", ["", "Half an"])
@pytest.mark.parametrize("reason", ["server-error", "timeout", "broken-stream", None])
def test_what_failed_is_told_until_a_question_after_it_has_been_answered(reason: str | None, text: str) -> None:
    failure = failed(reason, text) if reason else replace(answered(text), state="failed")
    messages = [*conversation("Hi", "Hello!"), asked("one"), failure, asked("two")]
    half = ["one", "Half an", "two"] if text else ["one\n\ntwo"]
    first = fitted(ROOMY, "", messages)
    assert [turn.text for turn in first.turns] == ["Hi", "Hello!", *half]
    milder = fitted(ROOMY, "", messages, variant=PromptVariant(False, Scope.ANSWERED))
    assert [turn.text for turn in milder.turns] == ["Hi", "Hello!", "two"]
    after = fitted(ROOMY, "", [*messages, answered("Yes."), asked("three")])
    assert [turn.text for turn in after.turns] == ["Hi", "Hello!", "two", "Yes.", "three"]
    assert all(prompt.doubtful for prompt in (first, milder, after))


@pytest.mark.parametrize("reason", ["unreachable", "rate-limited", "quota", "missing-key", "misconfigured"])
def test_what_failed_for_no_trouble_of_its_own_is_told_with_what_was_asked_with_it(reason: str) -> None:
    messages = [asked("one"), failed(reason), *conversation("two", "Yes.", "three")]
    assert [turn.text for turn in fitted(ROOMY, "", messages).turns] == ["one\n\ntwo", "Yes.", "three"]
    messages = [asked("one"), failed(reason), asked("bad"), failed("timeout"), *conversation("two", "Yes.", "?")]
    assert [turn.text for turn in fitted(ROOMY, "", messages).turns] == ["two", "Yes.", "?"]


def test_what_there_is_of_a_stopped_answer_is_an_answer() -> None:
    stopped = replace(answered("Half an", finish_reason="stopped"), state="stopped")
    prompt = fitted(ROOMY, "", [asked("one"), stopped, *conversation("two", "Yes.", "three")])
    assert [turn.text for turn in prompt.turns] == ["one", "Half an", "two", "Yes.", "three"]
    assert not prompt.doubtful
    nothing = [asked("one"), replace(stopped, text=""), *conversation("two", "Yes.", "three")]
    assert [turn.text for turn in fitted(ROOMY, "", nothing).turns] == ["two", "Yes.", "three"]


def test_what_is_on_the_way_when_the_server_breaks_is_no_refusal() -> None:
    messages = [asked("one"), failed("rejected", "Half an"), asked("two")]
    assert [turn.text for turn in fitted(ROOMY, "", messages).turns] == ["one", "Half an", "two"]
