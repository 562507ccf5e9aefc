"""`make migration`, in a copy of the project."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "core", tmp_path / "core", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def _draft(copy: Path, column: str, message: str) -> subprocess.CompletedProcess[str]:
    """With this column in the sessions' table."""
    tables = copy / "core/stores/tables.py"
    tables.write_text(tables.read_text().replace("    last_model:", f"    {column}\n    last_model:", 1))
    command = ["make", "-o", ".venv/.dev", f"BIN={Path(sys.executable).parent}", "migration", f"MESSAGE={message}"]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True)


def _drafts(copy: Path) -> list[Path]:
    return sorted(
        set((copy / "core/migrations/versions").glob("0*.py"))
        - {copy / path.relative_to(ROOT) for path in (ROOT / "core/migrations/versions").glob("0*.py")}
    )


@pytest.mark.parametrize("message", ["keep user's notes", "x; touch f", 'say "x" & `touch f`'])
def test_a_message_is_text_and_no_command(copy: Path, message: str) -> None:
    done = _draft(copy, "pinned: Mapped[bool | None]", message)
    assert done.returncode == 0, done.stderr
    (path,) = _drafts(copy)
    assert path.read_text().startswith(f'"""{message}."""')
    assert 'batch_op.add_column(sa.Column("pinned", sa.Boolean(), nullable=True))' in path.read_text()
    assert not (copy / "f").exists()


@pytest.mark.parametrize("message", ["", "a\\b", 'a """ b'])
def test_a_message_that_is_no_line_of_a_docstring_is_refused(copy: Path, message: str) -> None:
    assert _draft(copy, "pinned: Mapped[bool | None]", message).returncode != 0
    assert _drafts(copy) == []


def test_a_column_that_rows_have_no_value_for_is_refused(copy: Path) -> None:
    done = _draft(copy, "pinned: Mapped[bool] = mapped_column(default=False)", "pin sessions")
    assert done.returncode != 0
    assert "session.pinned is NOT NULL" in done.stderr
    assert _drafts(copy) == []


def test_a_column_with_a_default_of_the_database_is_drafted(copy: Path) -> None:
    column = 'pinned: Mapped[bool] = mapped_column(server_default="0")'
    assert _draft(copy, column, "pin sessions").returncode == 0
    assert len(_drafts(copy)) == 1
