"""GET /static/…: the page's code, styles and pictures, under addresses that change with what they hold."""

import gzip
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import brotli
import rjsmin
from flask import Flask, Response, request, url_for
from werkzeug.exceptions import NotFound

from web.middleware import security_headers
from web.pages import module_bundle

DIRECTORY = Path(__file__).parents[1] / "static"
FOR_EVER = "public, max-age=31536000, immutable"
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Not the machine's own table, in which JavaScript has one of several names (RFC 9239)."""
SHEETS = ("tokens", "layout", "controls", "conversation", "code", "account", "print")
"""Those of the page, in this order."""
CODINGS = ("br", "gzip")
"""The codings that browsers take, the better first (RFC 9110, 8.4.1; RFC 7932)."""


class StaticFile(NamedTuple):
    """One file, in each coding that makes it smaller."""

    media_type: str
    bodies: dict[str, bytes]
    """By coding; `identity` is always there."""
    etag: str


def _file(suffix: str, content: bytes) -> StaticFile:
    media_type = MEDIA_TYPES[suffix]
    etag = hashlib.sha256(content).hexdigest()[:16]
    if suffix == ".js":  # without its comments, which are more than half of it
        content = rjsmin.jsmin(content.decode()).encode()
    elif suffix == ".css":
        content = re.sub(rb"/\*.*?\*/\s*", b"", content, flags=re.DOTALL)
    bodies = {"br": brotli.compress(content), "gzip": gzip.compress(content, mtime=0), "identity": content}
    return StaticFile(
        media_type, {coding: body for coding, body in bodies.items() if len(body) <= len(content)}, etag
    )


def compress(page: Response) -> Response:
    """A page's document, as small as the browser takes it.

    For those that repeat no words of a person, next to which a secret could be guessed by the length (BREACH).
    """
    if request.accept_encodings["gzip"]:
        page.set_data(gzip.compress(page.get_data(), mtime=0))
        page.content_encoding = "gzip"
    page.vary.add("Accept-Encoding")
    return page


def _sheet_of_the_page(contents: Mapping[str, bytes]) -> bytes:
    return b"\n".join(contents[f"css/{name}.css"] for name in SHEETS)


def _module_of_the_page(contents: Mapping[str, bytes]) -> bytes:
    modules = {name: content.decode() for name, content in contents.items() if name.endswith(".js")}
    return module_bundle.join(modules, "js/app.js").encode()


JOINED = {"css/page.css": _sheet_of_the_page, "js/page.js": _module_of_the_page}
"""Files that are made of others."""


class StaticFiles:
    """All files of a directory, as they are when the process starts.

    Their version is a digest of them all, and a folder in their addresses: imports between modules are relative,
    and so stay within one version.
    """

    def __init__(
        self, directory: Path, joined: Mapping[str, Callable[[Mapping[str, bytes]], bytes]] | None = None
    ) -> None:
        paths = sorted(path for path in directory.rglob("*") if path.is_file())
        contents = {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}
        contents |= {name: join(contents) for name, join in (joined or {}).items()}
        self._files = {name: _file(Path(name).suffix, content) for name, content in contents.items()}
        digest = hashlib.sha256()
        for name, file in self._files.items():
            digest.update(f"{name}\0{file.etag}\0".encode())
        self.digest = digest.hexdigest()[:12]

    def address(self, name: str) -> str:
        """Where a file of this version is. Raises KeyError for one that is not there."""
        self._files[name]
        return url_for("static", filename=f"{self.digest}/{name}")

    def serve(self, filename: str) -> Response:
        """Answer with a file. One of this version may be kept for ever; one of no version, or of another, which a
        page from before a deploy asks for, is asked about each time. Raises NotFound."""
        version, _, name = filename.partition("/")
        current = version == self.digest
        file = self._files.get(name if current or len(version) == len(self.digest) else filename)
        if file is None:
            raise NotFound
        coding = next(
            (coding for coding in CODINGS if coding in file.bodies and request.accept_encodings[coding]), None
        )
        response = Response(file.bodies[coding or "identity"], mimetype=file.media_type)
        response.vary.add("Accept-Encoding")
        if coding:
            response.content_encoding = coding
        if current:
            response.headers["Cache-Control"] = FOR_EVER
            if file.media_type != "image/svg+xml":
                security_headers.no_document()
            return response
        response.headers["Cache-Control"] = "no-cache"
        response.set_etag(f"{file.etag}-{coding or 'identity'}")
        response.make_conditional(request)
        return response


FILES = StaticFiles(DIRECTORY, JOINED)


def static(filename: str) -> Response:
    """A file of the page."""
    return FILES.serve(filename)


def register(app: Flask) -> None:
    """Serve the files, and let templates address them by `asset`."""
    app.add_url_rule("/static/<path:filename>", "static", static)
    app.jinja_env.globals["asset"] = FILES.address
