"""Edits, other answers, more of an answer, and turning between branches: of guests and users, on both databases."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update
from uuid_utils.compat import uuid7

from core.conversation.finished_messages import MAX_SIBLINGS
from core.conversation.message import Message
from core.conversation.position import Producer
from core.errors import (
    AnswerWhole,
    GenerationInProgress,
    GenerationLost,
    NoSuchMessage,
    NothingToRegenerate,
    TooManyBranches,
    Unavailable,
    UnknownModel,
)
from core.generation.accepted import Accepted
from core.runtime import Runtime
from core.stores import tables
from core.stores.tables import Generation, Session
from tests.conftest import new_user
from tests.support.provider import ANSWER, ProviderServer


@dataclass
class Chat:
    """A session, what is done in it, and what its holder sees."""

    runtime: Runtime
    session: Session

    def ask(self, text: str, **options: Any) -> str:
        """Ask, and have it answered; the answer's id."""
        return self.written(self.runtime.generations.accept(self.session, text, **options))

    def again(self, message_id: str | None = None, **options: Any) -> str:
        """Another answer; its id."""
        named = None if message_id is None else UUID(message_id)
        return self.written(self.runtime.generations.regenerate(self.session, named, **options))

    def go_on(self, message_id: str | None = None) -> str:
        """More of an answer; its generation's id."""
        named = None if message_id is None else UUID(message_id)
        return self.written(self.runtime.generations.continue_answer(self.session, named))

    def written(self, accepted: Accepted) -> str:
        """Have it written; its id."""
        self.runtime.writer.run()
        return str(accepted.generation_id)

    def turn_to(self, message_id: str) -> None:
        """Make another branch the current one."""
        self.runtime.actions.branch(self.session, UUID(message_id))

    def page(self, limit: int = 50, before: str | None = None) -> list[Message]:
        """What is shown."""
        return list(self.runtime.transcript.read(self.session, UUID(before) if before else None, limit).messages)

    def texts(self) -> list[str]:
        """The words on it."""
        return [message.text for message in self.page()]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What has been told of this kind."""
        told = self.runtime.log.read(self.session.id, after=0).events
        return [json.loads(event.data) for event in told if event.type == kind]

    def question_of(self, answer: str) -> str:
        """The id of what it answers."""
        messages = self.runtime.transcript.oldest_first(self.session)
        parent = next(message.parent for message in messages if message.id == answer)
        assert parent
        return parent


@pytest.fixture
def runtime(settings: Any, any_database_url: str) -> Iterator[Runtime]:
    """The parts of a process, on either database."""
    parts = Runtime(settings.model_copy(update={"configured_database_url": any_database_url}))
    yield parts
    parts.close()


@pytest.fixture(params=["guest", "user"])
def chat(runtime: Runtime, request: pytest.FixtureRequest) -> Chat:
    """A conversation of either kind."""
    return begin(runtime, owned=request.param == "user")


def begin(runtime: Runtime, *, owned: bool, model: str = "good") -> Chat:
    """A conversation in which nothing has been said."""
    owner = new_user(runtime.database) if owned else None
    with runtime.database.writing() as db:
        return Chat(
            runtime, runtime.sessions.create_session(db, owner, secret_hash=None if owned else bytes(32), model=model)
        )


def asked(provider: ProviderServer) -> list[str]:
    """What the model was asked with last, without the system prompt."""
    return [turn["content"] for turn in provider.requests[-1]["messages"][1:]]


def test_an_edit_is_a_question_beside_the_old_one(chat: Chat, provider: ProviderServer) -> None:
    first = chat.ask("One?")
    second = chat.ask("Two?")
    edited = chat.ask("Two, otherwise?", parent=UUID(first))
    assert asked(provider) == ["One?", ANSWER, "Two, otherwise?"]
    page = chat.page()
    assert [message.text for message in page] == ["One?", ANSWER, "Two, otherwise?", ANSWER]
    assert [message.parent for message in page] == [None, *[message.id for message in page[:-1]]]
    assert page[2].siblings == [chat.question_of(second), page[2].id]
    assert [message.siblings for message in page if message is not page[2]] == [
        [message.id] for message in page if message is not page[2]
    ]
    assert [message.id for message in chat.page(2, before=edited)] == [first, page[2].id]
    assert [message.text for message in chat.page(before=second)] == ["One?", ANSWER, "Two?"]

    beginning = chat.ask("Another beginning?", parent=None)
    assert asked(provider) == ["Another beginning?"]
    assert [message.id for message in chat.page()] == [chat.question_of(beginning), beginning]
    assert chat.page()[0].siblings == [page[0].id, chat.question_of(beginning)]
    assert len(list(chat.runtime.transcript.oldest_first(chat.session))) == 8


def test_another_answer_stands_beside_the_old_one(chat: Chat, provider: ProviderServer) -> None:
    old = chat.ask("Why?")
    chat.ask("And?")
    new = chat.again(old, model="echo-length")
    assert asked(provider) == ["Why?"]
    page = chat.page()
    assert [(message.id, message.model) for message in page[1:]] == [(new, "echo-length")]
    assert page[1].siblings == [old, new]
    assert page[0].text == "Why?"
    assert provider.requests[-1]["model"] == "echo-length"
    third = chat.again()
    assert chat.page()[-1].siblings == [old, new, third]
    assert provider.requests[-1]["model"] == "good", "the model of the session, as before"
    told = chat.events("queued")[-1]
    assert told == {
        "generation_id": third,
        "position": 0,
        "question": page[0].id,
        "parent": None,
        "answer": third,
        "at": 0,
    }


def test_a_failed_answer_is_written_again_without_asking_twice(chat: Chat, provider: ProviderServer) -> None:
    failed = chat.ask("Why?", model="unauthorized")
    assert chat.page()[-1].state == "failed"
    chat.again(chat.question_of(failed))
    assert asked(provider) == ["Why?"]
    assert [message.state for message in chat.page()] == ["complete", "complete"]
    assert chat.page()[-1].siblings == [failed, chat.page()[-1].id]


def test_what_is_asked_after_a_question_is_told_with_it(chat: Chat, provider: ProviderServer) -> None:
    """No two turns of one role follow each other."""
    answer = chat.ask("One?")
    question = chat.question_of(answer)
    chat.ask("Two?", parent=UUID(question))
    assert asked(provider) == ["One?\n\nTwo?"]
    assert chat.texts() == ["One?", "Two?", ANSWER]


def test_turning_to_a_branch_ends_with_what_was_said_last_there(chat: Chat) -> None:
    first = chat.ask("One?")
    on_first = chat.ask("Two?")
    other = chat.again(first)
    assert [message.id for message in chat.page()][1:] == [other]
    chat.turn_to(first)
    assert chat.page()[-1].id == on_first
    assert chat.events("branch") == [{"leaf": on_first}]
    chat.turn_to(on_first)
    chat.ask("Three?")
    assert chat.texts() == ["One?", ANSWER, "Two?", ANSWER, "Three?", ANSWER]
    chat.turn_to(other)
    assert [message.id for message in chat.page()][1:] == [other]
    with pytest.raises(NoSuchMessage):
        chat.runtime.actions.branch(chat.session, uuid7())


def test_a_question_that_is_taken_back_leaves_the_branch_as_it_was(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = chat.ask("One?")
    other = chat.again(first)
    chat.turn_to(first)

    def refuse(*_: Any) -> bool:
        raise Unavailable

    with monkeypatch.context() as broken:
        broken.setattr(chat.runtime.admission._queue, "enqueue", refuse)
        for take in (
            lambda: chat.ask("Two?"),
            lambda: chat.ask("Two?", parent=UUID(other)),
            lambda: chat.again(first),
        ):
            with pytest.raises(Unavailable):
                take()
    assert [message.id for message in chat.page()][1:] == [first]
    assert chat.page()[-1].siblings == [first, other]
    assert chat.page()[0].siblings == [chat.page()[0].id]


def test_an_answer_that_was_cut_off_goes_on_in_its_own_message(chat: Chat, provider: ProviderServer) -> None:
    cut = chat.ask("Why?", model="echo-length")
    before = chat.page()[-1]
    assert (before.text, before.finish_reason) == ("2", "length")
    generation = chat.go_on()
    assert generation != cut
    after = chat.page()[-1]
    assert (after.id, after.text, after.finish_reason) == (cut, "24", "length")
    assert asked(provider)[:2] == ["Why?", "2"]
    told = [data for data in chat.events("delta") if data["generation_id"] == generation]
    assert told == [{"generation_id": generation, "at": 1, "text": "4"}]
    assert [(data["answer"], data["at"]) for data in chat.events("queued")][-1] == (cut, 1)
    assert chat.events("done")[-1]["length"] == 2
    with chat.runtime.database.reading() as db:
        row = db.get_one(Generation, UUID(generation))
    assert 0 < (row.completion_tokens or 0) < 20
    chat.go_on(cut)
    assert chat.page()[-1].text == "244"
    assert len(chat.page()) == 2


def test_what_can_not_be_gone_on_with(chat: Chat) -> None:
    with pytest.raises(AnswerWhole):
        chat.go_on()
    with pytest.raises(NothingToRegenerate):
        chat.again()
    whole = chat.ask("Why?")
    cut = chat.ask("And?", model="echo-length")
    for named in (whole, chat.question_of(whole)):
        with pytest.raises(AnswerWhole):
            chat.go_on(named)
    chat.ask("Then?")
    with pytest.raises(AnswerWhole):
        chat.go_on(cut)
    stranger = begin(chat.runtime, owned=not chat.session.anonymous).ask("Theirs?", model="echo-length")
    for take in (
        lambda: chat.go_on(stranger),
        lambda: chat.again(stranger),
        lambda: chat.ask("Mine?", parent=UUID(stranger)),
        lambda: chat.turn_to(stranger),
    ):
        with pytest.raises(NoSuchMessage):
            take()
    with pytest.raises(UnknownModel):
        chat.again(model="nobody")
    assert len(chat.page()) == 6


def test_more_of_an_answer_that_fails_or_is_stopped_leaves_what_there_was(
    chat: Chat, provider: ProviderServer
) -> None:
    cut = chat.ask("Why?", model="echo-length")
    chat.again(cut)
    generations = chat.runtime.generations
    accepted = generations.continue_answer(chat.session, UUID(cut))
    assert [(each.id, each.text, each.state) for each in chat.page()][1:] == [(cut, "2", "streaming")]
    with pytest.raises(GenerationInProgress):
        generations.regenerate(chat.session, None)
    with pytest.raises(GenerationInProgress):
        generations.continue_answer(chat.session, None)
    with pytest.raises(GenerationInProgress):
        chat.turn_to(cut)
    generations.stop(chat.session)
    assert chat.events("stopped") == [
        {"finish_reason": "stopped", "generation_id": str(accepted.generation_id), "length": 1}
    ]
    kept = chat.page()[-1]
    assert (kept.id, kept.text, kept.state, kept.finish_reason) == (cut, "2", "complete", "length")
    chat.go_on(cut)
    assert chat.page()[-1].text == "24"


def test_a_repeat_under_one_id_takes_nothing_more(chat: Chat) -> None:
    cut = chat.ask("Why?", model="echo-length")
    for take in (chat.runtime.generations.regenerate, chat.runtime.generations.continue_answer):
        generation = uuid7()
        take(chat.session, UUID(cut), generation)
        take(chat.session, UUID(cut), generation)
        chat.runtime.writer.run()
        take(chat.session, UUID(cut), generation)
    assert chat.runtime.writer.run() is None
    assert len(list(chat.runtime.transcript.oldest_first(chat.session))) == 3


def test_a_front_end_that_died_on_the_way_is_made_up_for(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = chat.ask("Why?", model="echo-length")
    for take in (chat.runtime.generations.regenerate, chat.runtime.generations.continue_answer):
        generation = uuid7()
        with monkeypatch.context() as broken:
            broken.setattr(chat.runtime.admission, "announce", lambda _: 1 / 0)
            broken.setattr(chat.runtime.admission, "retract", lambda _: None)
            with pytest.raises(ZeroDivisionError):
                take(chat.session, UUID(cut), generation)
        chat.written(take(chat.session, UUID(cut), generation))
    assert {message.id: message.text for message in chat.runtime.transcript.oldest_first(chat.session)}[cut] == "24"


def test_a_place_holds_only_so_many_messages(chat: Chat) -> None:
    answer = chat.ask("Why?")
    question = UUID(chat.question_of(answer))
    messages = [
        Message(
            str(uuid7()), "assistant", "x", "good", "complete", f"2036-01-01T00:00:00.{n:06}Z", parent=str(question)
        )
        for n in range(MAX_SIBLINGS - 1)
    ]
    keep_all(chat, messages)
    with pytest.raises(TooManyBranches):
        chat.again(answer)
    assert len(chat.page()[-1].siblings or ()) == MAX_SIBLINGS


def keep_all(chat: Chat, messages: list[Message]) -> None:
    """Have the conversation hold these too."""
    if not chat.session.anonymous:
        with chat.runtime.database.writing() as db:
            for message in messages:
                chat.runtime.transcript.keep(message, chat.session.id, db)
        return
    log, until = chat.runtime.log, chat.session.expires_at
    for message in messages:
        generation = uuid7()
        log.begin(chat.session.id, "queued", {}, Producer.queued(generation, 0), expires_at=until, answer="{}")
        log.end(
            chat.session.id,
            "done",
            {},
            Producer.terminal(generation, 1),
            expires_at=until,
            message=message.dump(),
        )


def test_a_claim_takes_the_whole_tree_along(runtime: Runtime) -> None:
    chat = begin(runtime, owned=False)
    first = chat.ask("One?")
    chat.ask("Two?")
    cut = chat.again(first, model="echo-length")
    chat.ask("Two, otherwise?", parent=UUID(first))
    chat.turn_to(cut)
    chat.go_on()
    before = chat.page()
    whole = list(runtime.transcript.oldest_first(chat.session))
    claimed = Chat(runtime, runtime.actions.claim(chat.session, new_user(runtime.database)))
    assert [(each.id, each.text, each.parent, each.siblings) for each in claimed.page()] == [
        (each.id, each.text, each.parent, each.siblings) for each in before
    ]
    assert [(each.id, each.parent) for each in runtime.transcript.oldest_first(claimed.session)] == [
        (each.id, each.parent) for each in whole
    ]
    claimed.go_on()
    assert claimed.page()[-1].text == "244"
    claimed.turn_to(first)
    assert claimed.texts() == ["One?", ANSWER, "Two, otherwise?", ANSWER]


def test_rows_of_the_version_before_follow_what_was_before_them(runtime: Runtime) -> None:
    """Its processes still write while this version's are started."""
    chat = begin(runtime, owned=True)
    first = chat.ask("One?")
    other = chat.again(first)
    chat.turn_to(first)
    second = chat.ask("Two?")
    with runtime.database.writing() as db:
        for each in (second, chat.question_of(second)):
            db.execute(update(tables.Message).where(tables.Message.id == UUID(each)).values(parent_id=None))
    assert [message.id for message in chat.page()][1:] == [other, chat.question_of(second), second]
    chat.ask("Two, otherwise?", parent=UUID(other))
    assert chat.page()[-2].siblings == [chat.question_of(second), chat.page()[-2].id]
    chat.turn_to(first)
    assert [message.id for message in chat.page()][1:] == [first]


@pytest.mark.parametrize("damage", ["missing", "circle", "stranger"])
def test_a_damaged_chain_ends_where_it_is_damaged(runtime: Runtime, damage: str) -> None:
    chat = begin(runtime, owned=True)
    first = chat.ask("One?")
    second = chat.ask("Two?")
    parent = {"missing": uuid7(), "circle": UUID(second), "stranger": None}[damage]
    if parent is None:
        parent = UUID(begin(runtime, owned=True).ask("Theirs?"))
    with runtime.database.writing() as db:
        db.execute(
            update(tables.Message).where(tables.Message.id == UUID(chat.question_of(second))).values(parent_id=parent)
        )
    assert [message.id for message in chat.page()] == [chat.question_of(second), second]
    chat.turn_to(first)
    chat.ask("Three?")
    assert chat.texts()[-2:] == ["Three?", ANSWER]


def test_the_end_that_was_lost_does_not_answer(chat: Chat) -> None:
    accepted = chat.runtime.generations.regenerate(chat.session, UUID(chat.ask("Why?")))
    chat.runtime.admission.retract(accepted.generation_id)
    with pytest.raises(GenerationLost):
        chat.runtime.generations.regenerate(chat.session, None, accepted.generation_id)
    assert chat.texts() == ["Why?", ANSWER]
