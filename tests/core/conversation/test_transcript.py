"""Conversations of any length, a page at a time: anonymous ones in Redis, owned ones on both databases."""

import json
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from core.clock import rfc3339
from core.conversation.finished_messages import (
    CHUNK_SIZE,
    MAX_SEARCHED,
    NEWEST_CHARACTERS,
    NEWEST_MESSAGES,
    UnknownMessage,
    read_newest,
)
from core.conversation.keys import keys
from core.conversation.message import Message
from core.conversation.position import Producer
from core.conversation.transcript import PAGE_BYTES, newest_that_fit
from core.errors import SwitchboardError
from core.generation.failure import failed
from core.llm.providers.base import MAX_COUNT, ErrorKind, ProviderError
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores.tables import Session
from tests.conftest import new_user

BEGIN = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def runtime(settings: Any, any_database_url: str) -> Iterator[Runtime]:
    """The parts of a process, on either database."""
    parts = Runtime(settings.model_copy(update={"configured_database_url": any_database_url}))
    yield parts
    parts.close()


@pytest.fixture(params=["anonymous", "owned"])
def session(runtime: Runtime, request: pytest.FixtureRequest) -> Session:
    """A session of either kind."""
    return _session(runtime, owned=request.param == "owned")


def _session(runtime: Runtime, *, owned: bool) -> Session:
    credential = Credential.issue()
    owner = new_user(runtime.database) if owned else None
    proof = None if owned else credential.secret_hash
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(
            db, owner, session_id=credential.session_id, secret_hash=proof, model="good"
        )


def _messages(texts: Sequence[str], *, apart: timedelta = timedelta(seconds=1)) -> list[Message]:
    """As a page has them, each after the one before it."""
    ids = [str(uuid7()) for _ in texts]
    parents = [None, *ids]
    return [
        Message(
            ids[number],
            "assistant",
            text,
            "good",
            "complete",
            rfc3339(BEGIN + number * apart),
            f"<p>{number}</p>",
            parent=parents[number],
            siblings=[ids[number]],
        )
        for number, text in enumerate(texts)
    ]


def _stored(messages: Iterable[Message]) -> list[Message]:
    """As they are read without their siblings."""
    return [replace(message, siblings=None) for message in messages]


def _keep(runtime: Runtime, session: Session, messages: Sequence[Message]) -> None:
    if session.anonymous:
        runtime.redis.rpush(keys(session.id)[3], *(message.dump() for message in messages))
        return
    with runtime.database.writing() as db:
        for message in messages:
            runtime.transcript.keep(message, session.id, db)


def _walk(runtime: Runtime, session: Session, limit: int) -> list[list[str]]:
    """The ids on all pages, newest page first."""
    pages = []
    before: UUID | None = None
    while True:
        page = runtime.transcript.read(session, before, limit)
        pages.append([message.id for message in page.messages])
        if page.before is None:
            return pages
        before = UUID(page.before)


@pytest.mark.parametrize("apart", [timedelta(seconds=1), timedelta()], ids=["one by one", "at one moment"])
def test_pages_put_together_are_the_conversation(runtime: Runtime, session: Session, apart: timedelta) -> None:
    messages = _messages([f"text {number}" for number in range(2 * CHUNK_SIZE + 5)], apart=apart)
    _keep(runtime, session, messages)
    for limit in (1, 7, CHUNK_SIZE, len(messages), len(messages) + 1):
        pages = _walk(runtime, session, limit)
        assert [each for page in reversed(pages) for each in page] == [message.id for message in messages]
        assert all(len(page) == limit for page in pages[:-1])
    assert list(runtime.transcript.oldest_first(session)) == _stored(messages)
    assert list(runtime.transcript.newest_first(session)) == _stored(messages[::-1])
    assert runtime.transcript.read(session).messages == messages


def test_pages_are_the_same_while_an_answer_is_written(runtime: Runtime, session: Session) -> None:
    messages = _messages(["a", "b", "c"])
    _keep(runtime, session, messages)
    accepted = runtime.generations.accept(session, "Why?")
    answer = str(accepted.generation_id)

    newest = runtime.transcript.read(session, limit=1)
    assert [(message.id, message.state) for message in newest.messages] == [(answer, "streaming")]
    assert newest.messages[0].describe()["html"] is None
    earlier = runtime.transcript.read(session, accepted.generation_id, 2)
    assert [message.text for message in earlier.messages] == ["c", "Why?"]
    assert earlier.cursor == newest.cursor
    assert _walk(runtime, session, 2)[0] == [earlier.messages[-1].id, answer]

    runtime.writer.run()
    again = runtime.transcript.read(session, accepted.generation_id, 2)
    assert again.messages == earlier.messages
    assert again.cursor != earlier.cursor
    words = [message.text for message in runtime.transcript.oldest_first(session)]
    assert words[:4] == ["a", "b", "c", "Why?"]
    assert len(words) == 5


def test_a_page_has_a_bound_and_at_least_one_message(runtime: Runtime, session: Session) -> None:
    messages = _messages(["x" * 400_000, "\N{PARTY POPPER}" * 50_000, "é" * 50_000, "x" * 1_000_000, "", "y"])
    _keep(runtime, session, messages)
    pages = _walk(runtime, session, 50)
    assert [each for page in reversed(pages) for each in page] == [message.id for message in messages]
    sizes = {message.id: len(message.encode()) for message in messages}
    assert all(len(page) == 1 or sum(sizes[each] for each in page) <= PAGE_BYTES for page in pages)
    assert [len(page) for page in pages] == [2, 1, 3]


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 8), st.integers(800, 12_000))
def test_a_page_is_as_long_as_may_be(lengths: list[int], limit: int, size: int) -> None:
    messages = [Message("id", "user", "x" * length, None, "complete", "") for length in lengths]
    page, more = newest_that_fit(iter(messages), limit, size)
    count = len(page)
    assert page == messages[:count][::-1]
    assert more == (count < len(messages))

    def bytes_of(number: int) -> int:
        return sum(message.size() for message in messages[:number])

    assert count <= limit
    assert count <= 1 or bytes_of(count) <= size
    assert not more or count == limit or bytes_of(count + 1) > size


def test_what_is_not_the_sessions_is_no_place_in_it(runtime: Runtime, session: Session) -> None:
    other = _session(runtime, owned=not session.anonymous)
    same = _session(runtime, owned=not session.anonymous)
    theirs = _messages(["theirs"])
    _keep(runtime, other, theirs)
    _keep(runtime, session, _messages(["ours"]))
    for stranger in (UUID(theirs[0].id), uuid7(), same.id):
        with pytest.raises(UnknownMessage):
            runtime.transcript.read(session, stranger)


def test_words_left_in_redis_after_a_claim_are_not_told(runtime: Runtime) -> None:
    """Their removal may fail; SQL has them."""
    session = _session(runtime, owned=True)
    messages = _messages(["first", "second", "third"])
    _keep(runtime, session, messages)
    left = _messages(["left over"])
    runtime.redis.rpush(keys(session.id)[3], *(message.dump() for message in [*left, *messages[:2]]))
    assert runtime.transcript.read(session).messages == messages
    assert list(runtime.transcript.oldest_first(session)) == _stored(messages)
    assert list(runtime.transcript.newest_first(session)) == _stored(messages[::-1])
    with pytest.raises(UnknownMessage):
        runtime.transcript.read(session, UUID(left[0].id))


def test_a_conversation_larger_than_the_bound_is_told_within_it(runtime: Runtime, session: Session) -> None:
    messages = _messages(["x" * 500_000] * 60)
    _keep(runtime, session, messages)
    messages = [replace(message, text="") for message in _stored(messages)]
    list(runtime.transcript.oldest_first(session))  # what is loaded once
    tracemalloc.start()
    try:
        told = [replace(message, text="") for message in runtime.transcript.oldest_first(session)]
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert told == messages
    assert most < 4 * CHUNK_SIZE * 500_000, "of 30 MB"


def test_an_export_tells_one_moment(runtime: Runtime, session: Session) -> None:
    messages = _messages(["x"] * (CHUNK_SIZE + 3))
    _keep(runtime, session, messages)
    export = runtime.transcript.oldest_first(session)
    first = next(export)
    later = replace(_messages(["later"])[0], created_at=rfc3339(datetime.now(UTC)))
    _keep(runtime, session, [later])
    assert [first, *export] == _stored(messages)


@pytest.mark.parametrize("state", ["complete", "stopped", "failed"])
def test_an_answer_without_html_is_its_own_text(state: Any) -> None:
    message = Message(str(uuid7()), "assistant", "**a**\n<b>", "good", state, rfc3339(BEGIN))
    assert message.describe()["html"] is None
    assert Message.load(message.dump().replace(',"html":null', "")) == message, "as stored before there was HTML"


TOO_LONG = ProviderError(ErrorKind.TOO_LONG, prompt_tokens=MAX_COUNT, limit_tokens=MAX_COUNT)


@given(st.text(), st.none() | st.text(), st.none() | st.text())
def test_a_message_is_told_as_it_is_and_its_size_about_known(
    text: str, html: str | None, thinking: str | None
) -> None:
    problem = failed("m" * 64, TOO_LONG).problem()
    end: dict[str, Any] = {
        "finish_reason": "content_filter",
        "thinking": thinking,
        "thinking_seconds": 3600,
        "problem": problem,
    }
    message = Message(str(uuid7()), "assistant", text, "good", "complete", rfc3339(BEGIN), html, **end)
    assert Message.load(message.dump()) == message
    wire = message.encode()
    assert json.loads(wire) == message.describe()
    escaped = sum(each < " " or each in '"\\' for each in text + (html or "") + (thinking or ""))
    assert len(wire) <= message.size() + 5 * escaped


def test_half_a_character_of_an_old_store_can_be_told() -> None:
    old = Message("id", "user", "half \ud83c", None, "complete", "")
    assert json.loads(old.encode())["text"] == "half ?"


def test_a_place_is_found_without_looking_at_the_words(runtime: Runtime) -> None:
    """Looking for it among the words, Redis copied all of them for each request, and others waited."""
    session = _session(runtime, owned=False)
    messages = _messages(["x" * 1000] * (MAX_SEARCHED + 50))
    for message in messages:
        _say(runtime, session, message)
    moved: list[int] = []
    for before, expected in ((UUID(messages[3].id), messages[:3]), (uuid7(), None)):
        start = _looked_at(runtime)
        if expected is None:
            with pytest.raises(UnknownMessage):
                runtime.transcript.read(session, before)
        else:
            assert runtime.transcript.read(session, before).messages == expected
        moved.append(_looked_at(runtime) - start)
    assert moved == [5, 0], "the page's own words, those at its end once more, and none"


def _say(runtime: Runtime, session: Session, question: Message, retracts: str = "") -> None:
    """Ask, and end without an answer."""
    generation_id, log = uuid7(), runtime.log
    until, begun, ended = session.expires_at, Producer.queued(generation_id, 0), Producer.terminal(generation_id, 1)
    log.begin(session.id, "queued", {}, begun, expires_at=until, answer="{}", question=question.dump())
    log.end(session.id, "failed", {}, ended, expires_at=until, retracts=retracts)


def _looked_at(runtime: Runtime) -> int:
    """How many times Redis has read from a list of words."""
    stats: Any = runtime.redis.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in ("lrange", "lindex"))


def test_a_question_that_is_taken_back_leaves_its_place(runtime: Runtime) -> None:
    session = _session(runtime, owned=False)
    first, refused, second = _messages(["first", "refused", "second"])
    second = replace(second, parent=first.id)
    _say(runtime, session, first)
    _say(runtime, session, refused, retracts=refused.id)
    _say(runtime, session, second)
    assert runtime.transcript.read(session).messages == [first, second]
    assert runtime.transcript.read(session, UUID(second.id)).messages == [first]
    with pytest.raises(UnknownMessage):
        runtime.transcript.read(session, UUID(refused.id))


def test_words_without_a_known_place_are_found_among_the_newest(runtime: Runtime) -> None:
    """As older versions have left them."""
    session = _session(runtime, owned=False)
    messages = _messages([f"{number}" for number in range(MAX_SEARCHED + 2)])
    _keep(runtime, session, messages[:-1])
    _say(runtime, session, messages[-1])
    for found in (2, MAX_SEARCHED // 2, MAX_SEARCHED + 1):
        assert runtime.transcript.read(session, UUID(messages[found].id), 1).messages == [messages[found - 1]]
    with pytest.raises(UnknownMessage):
        runtime.transcript.read(session, UUID(messages[1].id))


@pytest.mark.parametrize(
    ("count", "length", "read"),
    [
        (1, 5, 1),
        (NEWEST_MESSAGES, 5, NEWEST_MESSAGES),
        (NEWEST_MESSAGES + 30, 5, NEWEST_MESSAGES),
        (5, NEWEST_CHARACTERS // 2, 2),
    ],
    ids=["one", "just as many", "more", "long ones"],
)
def test_what_has_been_read_already_goes_on_where_it_ends(
    runtime: Runtime, count: int, length: int, read: int
) -> None:
    session = _session(runtime, owned=True)
    *messages, unfinished = _messages([f"{number:03} ".ljust(length, "x") for number in range(count + 1)])
    _keep(runtime, session, [*messages, unfinished])
    with runtime.database.reading() as db:
        newest = read_newest(db, session.id, UUID(messages[-1].id))
    assert (len(newest.rows), newest.before is not None) == (read, read < count)
    question, answer = UUID(messages[-1].id), UUID(unfinished.id)
    told = list(runtime.transcript.before_answer(session, question, answer, newest).messages)
    assert [message.id for message in told] == [message.id for message in reversed(messages)]


def test_a_later_state_of_a_message_replaces_the_earlier(runtime: Runtime) -> None:
    session = _session(runtime, owned=True)
    (message,) = _messages(["Half an"])
    _keep(runtime, session, [message])
    later = replace(message, text="Half an answer", state="failed", problem=SwitchboardError().problem())
    _keep(runtime, session, [later])
    assert list(runtime.transcript.read(session).messages) == [later]
