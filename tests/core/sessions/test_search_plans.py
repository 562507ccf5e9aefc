"""A search asks the index, however much others have said."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event

from core.clock import SystemClock
from core.sessions.search import Search
from core.stores.database import Database
from core.stores.quarantine import Quarantine
from core.text.search_tokens import terms
from tests.conftest import new_user


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    made = Database(postgres_url)
    yield made
    made.dispose()


def test_the_beginning_of_a_word_is_looked_up(database: Database) -> None:
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, given: Any, *_: object) -> None:
        # As PostgreSQL would run it there and then: what the transaction has set decides with it.
        if "message_words" in statement:
            cursor.execute(f"EXPLAIN {statement}", given)
            plans.append("\n".join(row[0] for row in cursor.fetchall()))

    search = Search(database, Quarantine("index", SystemClock(), lambda _: None))
    event.listen(database.engine, "before_cursor_execute", explain)
    assert search.find(new_user(database), terms("harb"), SystemClock().now(), None, 50) == []
    (counting,) = plans
    assert "ix_message_words_words" in counting
    assert "Seq Scan" not in counting
