"""Characters that not every store takes."""

import json
import timeit
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from uuid_utils.compat import uuid7

from core.stores.database import Database
from core.stores.tables import AuditEvent, Generation, Session
from core.text.characters import fits_one_line, one_line, storable, storable_value, whole_characters

ANYTHING = st.text(st.one_of(st.characters(), st.sampled_from("\0\ud800\udbff\udc00\udfff\\u\"'\n\u202e\x7f")))
"""With everything that any store refuses."""


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain ✓", "plain ✓"),
        ("a\0b", "a�b"),
        ("cut \ud83d", "cut �"),
        ("\ude00 cut", "� cut"),
        ("\ud83d\ude00", "😀"),
        ("\ud83d\0\ude00", "���"),
    ],
)
def test_what_can_not_be_stored_is_replaced(text: str, stored: str) -> None:
    assert storable(text) == stored


@given(ANYTHING)
def test_what_comes_out_can_be_encoded_and_stays_as_it_is(text: str) -> None:
    stored = storable(text)
    assert "\0" not in stored.encode().decode()
    assert storable(stored) == stored


@pytest.mark.parametrize("character", ["f", "é", "語"])
def test_a_long_text_costs_little_more_than_its_encoding(character: str) -> None:
    """A statement on many rows has all of their ids in one."""

    def seconds(call: Callable[[], object]) -> float:
        return min(timeit.repeat(call, number=1, repeat=7))

    text = character * 2_000_000
    assert seconds(lambda: storable(text)) < 6 * seconds(text.encode)


@given(ANYTHING, ANYTHING)
def test_a_text_is_as_storable_inside_of_others(name: str, text: str) -> None:
    assert storable_value({name: [text, 1, None]}) == {storable(name): [storable(text), 1, None]}


@given(st.lists(ANYTHING))
def test_a_json_text_is_read_as_if_its_halves_had_been_replaced(texts: list[str]) -> None:
    escaped = json.dumps(texts).encode()
    read = json.loads(whole_characters(escaped))
    assert [text.replace("\0", "�") for text in read] == storable_value(texts)


@given(st.binary())
def test_what_is_no_json_is_no_error_here(raw: bytes) -> None:
    assert isinstance(whole_characters(raw), bytes)


@given(ANYTHING)
def test_a_name_is_one_line_that_turns_nothing(text: str) -> None:
    name = one_line(text)
    assert fits_one_line(name)
    assert one_line(name) == name == name.strip()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Why\r\nis\tthe \x1b[31msky\x07  blue?", "Why is the [31msky blue?"),
        ("annexe\u202etxt.exe", "annexetxt.exe"),
        ("👩\u200d👩\u200d👧 and لِمَ", "👩\u200d👩\u200d👧 and لِمَ"),
        ("\x01\n", ""),
    ],
)
def test_a_name_keeps_what_people_write(text: str, name: str) -> None:
    assert one_line(text) == name


class TestOnBothDatabases:
    TEXTS = ("a\0b", "half \ud83d", "\udc00", "whole \ud83d\ude00", "\\u0000 in letters")

    def test_every_text_is_kept_and_given_back(self, any_database: Database) -> None:
        for text in self.TEXTS:
            event = AuditEvent(id=uuid7(), at=datetime.now(UTC), kind="test", detail=text)
            with any_database.writing() as db:
                db.add(event)
            with any_database.reading() as db:
                assert db.get_one(AuditEvent, event.id).detail == storable(text)
                # What is looked for goes the same way.
                assert db.scalars(select(AuditEvent.id).where(AuditEvent.detail == text)).all() == [event.id]

    def test_so_is_every_text_in_json(self, any_database: Database) -> None:
        now = datetime.now(UTC)
        session = Session(
            id=uuid7(), secret_hash=b"x" * 32, last_model="m", created_at=now, expires_at=now, ends_at=now
        )
        told = {text: [text] for text in self.TEXTS}
        row = Generation(
            id=uuid7(), session_id=session.id, model="m", lease_until=now, created_at=now, unpublished=told
        )
        with any_database.writing() as db:
            db.add(session)
            db.flush()
            db.add(row)
        with any_database.reading() as db:
            assert db.get_one(Generation, row.id).unpublished == storable_value(told)
