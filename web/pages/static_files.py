"""GET /static/…: the page's code, styles and pictures, under addresses that change with what they hold."""

import gzip
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import brotli
import rjsmin
from flask import Flask, Response, request, url_for
from werkzeug.exceptions import NotFound

from web.middleware import security_headers
from web.pages.joined_modules import join_modules

DIRECTORY = Path(__file__).parents[1] / "static"
FOR_EVER = "public, max-age=31536000, immutable"
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Not the machine's own table, in which JavaScript has one of several names (RFC 9239)."""
JOINED = {
    "css/page.css": [
        f"css/{name}.css" for name in ("tokens", "layout", "controls", "conversation", "code", "account", "print")
    ]
}
"""Files that are made of others, in this order: the head of each answer costs more than the page's smaller sheets."""
JOINED_MODULES = {"js/page.js": "js/app.js"}
"""Files that are made of a module and all that it imports."""
CODINGS = ("br", "gzip")
"""The codings that browsers take, the better first (RFC 9110, 8.4.1; RFC 7932)."""


@dataclass(frozen=True)
class StaticFile:
    """One file, in each coding that makes it smaller."""

    name: str
    source: bytes

    @cached_property
    def etag(self) -> str:
        """A digest of what it holds."""
        return hashlib.sha256(self.source).hexdigest()[:16]

    @property
    def media_type(self) -> str:
        """As in the header Content-Type."""
        return MEDIA_TYPES[Path(self.name).suffix]

    @cached_property
    def bodies(self) -> Mapping[str, bytes]:
        """By coding; `identity` is always there. Made when they are first wanted: for all files of the page that
        takes a second and a half of a slow core."""
        content = self.source
        if self.name.endswith(".js"):  # without its comments, which are more than half of it
            content = rjsmin.jsmin(content.decode()).encode()
        elif self.name.endswith(".css"):
            content = re.sub(rb"/\*.*?\*/\s*", b"", content, flags=re.DOTALL)
        bodies = {"br": brotli.compress(content), "gzip": gzip.compress(content, mtime=0), "identity": content}
        return {coding: body for coding, body in bodies.items() if len(body) <= len(content)}


def compress(page: Response) -> Response:
    """A page's document, as small as the browser takes it.

    For those that repeat no words of a person, next to which a secret could be guessed by the length (BREACH).
    """
    if request.accept_encodings["gzip"]:
        page.set_data(gzip.compress(page.get_data(), mtime=0))
        page.content_encoding = "gzip"
    page.vary.add("Accept-Encoding")
    return page


class StaticFiles:
    """All files of a directory, as they are when the process starts.

    Their version is a digest of them all, and a folder in their addresses: imports between modules are relative,
    and so stay within one version.
    """

    def __init__(
        self,
        directory: Path,
        joined: Mapping[str, Sequence[str]] | None = None,
        joined_modules: Mapping[str, str] | None = None,
    ) -> None:
        paths = sorted(path for path in directory.rglob("*") if path.is_file())
        contents = {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}
        for name, parts in (joined or {}).items():
            contents[name] = b"\n".join(contents[part] for part in parts)
        modules = {name: content.decode() for name, content in contents.items() if name.endswith(".js")}
        for name, entry in (joined_modules or {}).items():
            contents[name] = join_modules(modules, entry).encode()
        self._files = {name: StaticFile(name, content) for name, content in contents.items()}
        digest = hashlib.sha256()
        for name, file in self._files.items():
            digest.update(f"{name}\0{file.etag}\0".encode())
        self.digest = digest.hexdigest()[:12]

    def prepare(self, names: Iterable[str]) -> None:
        """Have these files ready before anyone asks for them: the large ones hold up all others meanwhile."""
        for name in names:
            self._files[name].bodies  # noqa: B018

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


FILES = StaticFiles(DIRECTORY, JOINED, JOINED_MODULES)
FILES.prepare([*JOINED, *JOINED_MODULES])


def static(filename: str) -> Response:
    """A file of the page."""
    return FILES.serve(filename)


def register(app: Flask) -> None:
    """Serve the files, and let templates address them by `asset`."""
    app.add_url_rule("/static/<path:filename>", "static", static)
    app.jinja_env.globals["asset"] = FILES.address
