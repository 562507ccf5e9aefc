"""Drafts the next migration out of what core/stores/tables.py has and the newest revision lacks: `make migration`."""

import sys
import tempfile
from pathlib import Path

from core.migrations.runner import draft


def main() -> None:
    """Write the draft beside the other versions, and name it."""
    message = " ".join(sys.argv[1:]).strip()
    if not message:
        sys.exit('Say what the migration does: make migration MESSAGE="keep notes with a session"')
    with tempfile.TemporaryDirectory() as directory:
        path = draft(f"sqlite:///{Path(directory) / 'empty.db'}", message)
    print(path.relative_to(Path.cwd()))


if __name__ == "__main__":
    main()
