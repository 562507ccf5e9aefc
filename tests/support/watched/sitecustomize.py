"""Has a process that the tests start watch its own writes of the session table (tests/support/sole_writer.py).

Python imports this module when it starts with this directory in PYTHONPATH. SQLAlchemy must not be imported before
the product does it, after gevent's patches; so the watch begins with the import of what opens databases.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[3]


class _Begin(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds nothing, and begins to watch when this checkout's own database module is looked for."""
        if fullname == "core.stores.database":
            sys.meta_path.remove(self)
            if path and Path(next(iter(path))).is_relative_to(ROOT):
                sys.path.append(str(ROOT))
                from tests.support.sole_writer import SoleWriter

                SoleWriter(Path(os.environ["SOLE_WRITER_REPORT"])).watch()
        return None


if "SOLE_WRITER_REPORT" in os.environ:
    sys.meta_path.insert(0, _Begin())
