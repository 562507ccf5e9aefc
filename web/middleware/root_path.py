"""The path below which the application is served, where a proxy gives it a part of a site only."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def register(app: Flask, root_path: str) -> None:
    """Serve the application below `root_path`, such as `/assistant`; empty: the whole site is its own."""
    if root_path:
        app.config["APPLICATION_ROOT"] = root_path
        app.wsgi_app = RootPath(app.wsgi_app, root_path)  # type: ignore[method-assign]


def without_root(path: str, root_path: str) -> str:
    """A request's path as the application's routes have it: without the root, if it begins with it."""
    below = root_path and f"{path}/".startswith(f"{root_path}/")
    return (path[len(root_path) :] or "/") if below else path


class RootPath:
    """Tells the application its root, which is SCRIPT_NAME (PEP 3333) and so begins every URL that it makes.

    A proxy may hand the path on as it is, or without the root: a path that does not begin with the root is taken as
    it is. So may a probe of this machine ask for `/readyz` whatever the root is.
    """

    def __init__(self, app: "WSGIApplication", root_path: str) -> None:
        self._app = app
        self._root = root_path

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        environ["SCRIPT_NAME"] = self._root
        environ["PATH_INFO"] = without_root(environ.get("PATH_INFO", ""), self._root)
        return self._app(environ, start_response)
