"""The parts below an application, for tests that look past what its handlers may see."""

from typing import cast

from flask import Flask

from core.runtime import Runtime
from web.context import context_of


def runtime_of(app: Flask) -> Runtime:
    """The runtime that the application was created over."""
    return cast("Runtime", context_of(app).services)
