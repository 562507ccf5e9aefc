"""What one question may cost its stores: a small run of bench/turn.py."""

import statistics

import pytest

from bench.turn import MAX_STATEMENTS, MAX_TRANSACTIONS, measured, questions
from tests.support.postgres import Postgres


@pytest.mark.slow
def test_a_question_and_its_answer_take_few_transactions(own_postgres: Postgres) -> None:
    with measured(own_postgres, streams=4) as (chat, stores, _):
        owned, guest = (questions(chat, stores, 3, owned=owned) for owned in (True, False))
    transactions, statements = (statistics.median(column) for column in list(zip(*owned, strict=True))[:2])
    assert transactions <= MAX_TRANSACTIONS
    assert statements <= MAX_STATEMENTS
    assert 1 < statistics.median(cost.statements for cost in guest) < statements
