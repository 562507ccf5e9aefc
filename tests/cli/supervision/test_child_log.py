"""Logs have a bound."""

import shutil
from pathlib import Path

from cli.supervision.child_log import ChildLog


def test_a_full_log_turns_over_and_the_previous_part_is_kept(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "web.log", limit=20)
    for number in range(10):
        log.write(f"line {number}")
    log.close()
    assert (tmp_path / "web.log.1").read_text() == "line 6\nline 7\nline 8\n"
    assert (tmp_path / "web.log").read_text() == "line 9\n"


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    for word in ("first", "second"):
        log = ChildLog(tmp_path / "web.log")
        log.write(word)
        log.close()
    assert (tmp_path / "web.log").read_text() == "first\nsecond\n"


def test_a_log_that_was_moved_away_or_deleted_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "web.log"
    log = ChildLog(path)
    log.write("first")
    path.rename(path.with_suffix(".log.old"))
    log.write("second")
    assert path.with_suffix(".log.old").read_text() == "first\n"
    assert path.read_text() == "second\n"
    shutil.rmtree(path.parent)
    log.write("third")
    assert path.read_text() == "third\n"
    assert log.lost == 0
