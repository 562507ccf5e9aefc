"""The files of the page: small on the wire, fetched once, and never another version's by mistake."""

import gzip
import re
from pathlib import Path

import brotli
from flask.testing import FlaskClient
from pygments.lexers.javascript import JavascriptLexer

from web.pages.static_files import DIRECTORY, StaticFiles

EVERYTHING = {"Accept-Encoding": "gzip, deflate, br, zstd"}


def _address(client: FlaskClient, name: str) -> str:
    """Where the page says that a file is."""
    found = re.search(rf'"(/static/\w+/{re.escape(name)})"', client.get("/").text)
    assert found
    return found[1]


def test_a_file_at_the_pages_address_is_kept_for_ever_in_the_browsers_coding(
    client: FlaskClient,
) -> None:
    address = _address(client, "js/page.js")
    plain = client.get(address)
    assert plain.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert plain.headers["X-Content-Type-Options"] == "nosniff"
    assert plain.mimetype == "text/javascript"
    assert "Content-Encoding" not in plain.headers
    assert b"/** Starts the page" not in plain.data, "comments are for those who read the source"
    assert "X-Request-ID" not in plain.headers, "it would be another request's"
    small = client.get(address, headers=EVERYTHING)
    assert small.headers["Content-Encoding"] == "br"
    assert brotli.decompress(small.data) == plain.data
    zipped = client.get(address, headers={"Accept-Encoding": "gzip, br;q=0"})
    assert gzip.decompress(zipped.data) == plain.data
    assert {answer.headers["Vary"] for answer in (plain, small, zipped)} == {"Accept-Encoding"}
    assert len(small.data) < len(zipped.data) < len(plain.data)


def test_a_file_of_no_version_or_another_is_asked_about_each_time(client: FlaskClient) -> None:
    current = _address(client, "css/page.css")
    for address in ("/static/css/page.css", re.sub(r"/static/\w+", "/static/0123456789ab", current)):
        first = client.get(address, headers=EVERYTHING)
        assert first.headers["Cache-Control"] == "no-cache"
        assert client.get(address, headers={**EVERYTHING, "If-None-Match": first.headers["ETag"]}).status_code == 304
        assert client.get(address, headers={"If-None-Match": first.headers["ETag"]}).status_code == 200, "other bytes"


def test_nothing_else_of_the_machine_is_served(client: FlaskClient) -> None:
    current = _address(client, "js/page.js").removesuffix("js/page.js")
    for path in ("../app.py", "..%2fapp.py", "js/", "js", "", "js/app.js/", "%00", "js//app.js"):
        assert client.get(current + path).status_code == 404
        assert client.get(f"/static/{path}").status_code in (404, 308)


def test_the_version_changes_with_any_file_or_name(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("a {}")
    versions = [StaticFiles(tmp_path).digest]
    (tmp_path / "a.css").write_text("b {}")
    versions.append(StaticFiles(tmp_path).digest)
    (tmp_path / "a.css").rename(tmp_path / "b.css")
    versions.append(StaticFiles(tmp_path).digest)
    assert len(set(versions)) == 3
    assert StaticFiles(DIRECTORY).digest == StaticFiles(DIRECTORY).digest


def test_the_document_is_compressed_where_the_browser_takes_it(client: FlaskClient) -> None:
    for path in ("/", "/docs"):
        zipped = client.get(path, headers=EVERYTHING)
        assert gzip.decompress(zipped.data) == client.get(path).data


def test_modules_lose_their_comments_only(client: FlaskClient) -> None:
    """What strips them does not know a template within a template, and takes spaces from its words."""
    for path in sorted(DIRECTORY.rglob("*.js")):
        name = path.relative_to(DIRECTORY).as_posix()
        assert _tokens(client.get(f"/static/{name}").text) == _tokens(path.read_text()), name


def _tokens(code: str) -> list[str]:
    lexed = JavascriptLexer(ensurenl=False).get_tokens(code)
    # A kind is the path of its names: ("Literal", "String", "Backtick").
    words = [text if "String" in kind[:] else text.strip() for kind, text in lexed if "Comment" not in kind[:]]
    return [word for word in words if word]
