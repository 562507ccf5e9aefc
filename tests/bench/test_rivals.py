"""A tiny run of bench/rivals, with those that need no download."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench import provider
from bench.child import Child, child
from bench.provider import TOKEN_LENGTH, Manner
from bench.rivals import clients, environments, kills, speed
from bench.rivals.__main__ import kill_table, require_whole, speed_table

PLAN = kills.Plan(waves=1, answers=4, manner=Manner(60, 20), patience=90, seed=2)
KILLS = kills.Row("Switchboard", "SIGKILL", 4, 4, 0, 0, 12.5, 6)
SPEED = speed.Row("Switchboard", 2, 30, 10, 1, 2, 400, 120, 120)


@pytest.fixture
def serving() -> Iterator[Child]:
    with child(provider.run) as process:
        yield process


@pytest.fixture
def reading() -> Iterator[Child]:
    with child(clients.run) as process:
        yield process


@pytest.fixture
def url(serving: Child) -> str:
    return f"http://127.0.0.1:{serving.receive()}/v1"


@pytest.mark.timeout(400)
def test_no_character_is_lost_when_the_writer_is_killed(serving: Child, url: str, reading: Child) -> None:
    rows = kill_table(["switchboard"], PLAN, serving, url, reading)
    assert [row.signal for row in rows] == ["SIGKILL", "SIGTERM"]
    for row in rows:
        assert (row.answers, row.completed, row.lost, row.doubled) == (4, 4, 0, 0)
        assert row.billed > 4  # the rest of what was broken off is asked for


@pytest.mark.timeout(200)
def test_what_is_lost_elsewhere_is_counted(serving: Child, url: str, reading: Child) -> None:
    killed, _ = kill_table(["flask-sse"], replace(PLAN, patience=10), serving, url, reading)
    assert killed.incomplete
    assert TOKEN_LENGTH <= killed.lost <= 4 * 60 * TOKEN_LENGTH


@pytest.mark.timeout(300)
def test_every_token_of_undisturbed_streams_arrives(
    url: str, reading: Child, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = speed_table(["switchboard", "flask-sse"], speed.Plan([3], Manner(20, 20)), url, reading)
    assert [(row.name, row.arrived, row.sent) for row in rows] == [
        (name, 60, 60) for name in ("bare provider", "Switchboard", "flask-sse")
    ]
    bare, ours, stock = rows
    assert bare.memory == 0
    assert ours.memory > 100
    assert stock.memory > 20
    assert all(0 < row.p50 <= row.p99 for row in rows)
    assert "60/60" in capsys.readouterr().out


def test_the_command_fails_with_the_counts_of_switchboard_alone() -> None:
    require_whole([KILLS, replace(KILLS, name="flask-sse", completed=1)], [SPEED])
    with pytest.raises(SystemExit, match="only 3 of 4 answers after SIGKILL, 119 of 120 tokens at 2 streams have"):
        require_whole([replace(KILLS, completed=3)], [replace(SPEED, arrived=119)])


def test_one_that_can_not_be_installed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environments, "PLACE", tmp_path)
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with child(provider.run) as serving, child(clients.run) as reading:
        assert kill_table(["chainlit"], PLAN, serving, f"http://127.0.0.1:{serving.receive()}/v1", reading) == []
    assert "chainlit is left out: ERROR: No matching distribution" in capsys.readouterr().out
