"""The Procfile's form, and the real one's contents."""

from pathlib import Path

import pytest

from cli.console import CommandError
from cli.supervision.procfile import read_procfile

ROOT = Path(__file__).parents[3]


def test_commands_are_split_as_a_shell_would(tmp_path: Path) -> None:
    procfile = tmp_path / "Procfile"
    procfile.write_text('# the front\nweb: gunicorn "app:create()"\n\nchat-2:  celery --queues a,b\n')
    assert read_procfile(procfile) == {
        "web": ["gunicorn", "app:create()"],
        "chat-2": ["celery", "--queues", "a,b"],
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("web gunicorn\n", "Procfile:1: expected `name: command`"),
        ("web: a\n\nweb: b\n", "Procfile:3: two processes have one name"),
        ("web: 'a\n", "Procfile:1: No closing quotation"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    procfile = tmp_path / "Procfile"
    procfile.write_text(text)
    with pytest.raises(CommandError, match=complaint):
        read_procfile(procfile)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="Procfile: can't be read: No such file"):
        read_procfile(tmp_path / "Procfile")


def test_the_real_one_has_every_process() -> None:
    assert set(read_procfile(ROOT / "Procfile")) == {"web", "worker", "chat", "beat", "flower", "model"}
