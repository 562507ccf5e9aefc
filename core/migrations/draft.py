"""Drafts the next migration out of what core/stores/tables.py has and the newest revision lacks: `make migration`."""

import sys
import tempfile
from pathlib import Path

from core.migrations.runner import ColumnNeedsDefault, draft


def main() -> None:
    """Write the draft beside the other versions, and name it."""
    message = " ".join(sys.argv[1:]).strip()
    if not message:
        sys.exit('Say what the migration does: make migration MESSAGE="keep notes with a session"')
    if '"""' in message or "\\" in message or not message.isprintable():
        sys.exit("The message is a docstring's line: it has neither backslashes nor three quotes")
    with tempfile.TemporaryDirectory() as directory:
        try:
            path = draft(f"sqlite:///{Path(directory) / 'empty.db'}", message)
        except ColumnNeedsDefault as error:
            sys.exit(str(error))
    print(path.relative_to(Path.cwd()))


if __name__ == "__main__":
    main()
