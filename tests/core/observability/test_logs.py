import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.observability.formatters import LogFormat
from core.observability.log_ids import log_ids, set_ids
from core.observability.logs import Handler
from core.observability.told import MAX_EXCEPTION, MAX_MESSAGE

WORDS = "sesame opens the door"
LINE = re.compile(r"[0-9-]{10}T[0-9:.]{12}Z [A-Z]+ web [\w.]+: ")

Log = Callable[..., str]


def _log(log_format: LogFormat, name: str = "core.test", level: int = logging.WARNING, *secrets: str) -> Log:
    """A function that logs, and returns what has been written of it."""
    stream = io.StringIO()
    handler = Handler("web", log_format, secrets, stream)

    def log(message: object, *args: object, error: BaseException | None = None, **extra: object) -> str:
        stream.seek(0)
        stream.truncate()
        raised = None if error is None else (type(error), error, error.__traceback__)
        record = logging.getLogger(name).makeRecord(name, level, "", 0, message, args, raised, extra=extra)
        handler.handle(record)
        return stream.getvalue()

    return log


@pytest.fixture(params=["text", "json"])
def log_format(request: pytest.FixtureRequest) -> LogFormat:
    return "json" if request.param == "json" else "text"


@pytest.fixture(autouse=True)
def _no_ids() -> None:
    """Those of requests that other tests have made in this thread are gone."""
    set_ids()


@pytest.fixture(autouse=True)
def _errors_show() -> Iterator[None]:
    before, logging.raiseExceptions = logging.raiseExceptions, True
    yield
    logging.raiseExceptions = before


def _raised(make: Callable[[], BaseException]) -> BaseException:
    try:
        raise make()
    except BaseException as error:
        return error


def test_a_line_says_when_where_and_what() -> None:
    before = datetime.now(UTC)
    with log_ids(request_id="r-1", session_id="s-1"):
        line = json.loads(_log("json")("it took %d ms", 5, generation_id="g-1", ms=5, password=WORDS))
    assert abs(datetime.fromisoformat(line.pop("time")) - before).total_seconds() < 5
    assert line == {
        "level": "warning",
        "process": "web",
        "logger": "core.test",
        "message": "it took 5 ms",
        "request_id": "r-1",
        "session_id": "s-1",
        "generation_id": "g-1",
        "ms": 5,
    }


def test_a_line_of_text_has_the_same() -> None:
    with log_ids(request_id="r-1"):
        line = _log("text")("it took %d ms", 5, generation_id="g-1", ms=5, password=WORDS)
    assert LINE.sub("", line) == "it took 5 ms request_id=r-1 generation_id=g-1 ms=5\n"


def test_ids_hold_for_their_block_only() -> None:
    with log_ids(request_id="outer"):
        with log_ids(session_id="inner", task=None):
            pass
        assert "session_id" not in json.loads(_log("json")("after"))


@given(st.text(st.characters(), max_size=200), st.lists(st.text(st.characters(), max_size=50), max_size=2))
def test_whatever_is_logged_is_one_object_on_one_line(message: str, args: list[str]) -> None:
    line = _log("json")(message, *args, session_id=message)
    line.encode("ascii")
    assert line.count("\n") == 1
    assert isinstance(json.loads(line)["message"], str)


@given(st.text(st.characters(), max_size=200))
def test_no_message_looks_like_another_line_or_moves_a_terminal(message: str) -> None:
    first, *further = _log("text")("%s", message)[:-1].split("\n")
    assert LINE.match(first)
    assert all(line.startswith("    ") for line in further)
    assert all(each.isprintable() or ord(each) > 0x9F for line in (first, *further) for each in line)


@pytest.mark.parametrize("filler", ["x", "😀", "\x00", "\ud800", '"'])
def test_a_line_is_bounded(log_format: LogFormat, filler: str) -> None:
    huge = filler * 1_000_000

    def recursive(depth: int) -> BaseException:
        return recursive(depth - 1) if depth else _raised(lambda: ValueError(huge))

    written = _log(log_format)("%s", huge, error=recursive(500), session_id=huge)
    assert len(written.encode(errors="backslashreplace")) < 64 * 1024
    assert "(1000000 characters)" in written


def test_a_bound_cuts_no_secret_in_two(log_format: LogFormat) -> None:
    secret = "correct-horse-battery"
    log = _log(log_format, "core.test", logging.WARNING, secret)
    for shift in range(len(secret) + 2):
        assert "corr" not in log("x" * (MAX_MESSAGE - shift) + " " + secret + " " + "x" * 100)


def test_of_an_exception_its_class_and_place_are_told(log_format: LogFormat) -> None:
    def fail() -> None:
        try:
            dict[str, str]()[WORDS]
        except KeyError as error:
            raise ValueError(f"no {WORDS}") from error

    try:
        fail()
    except ValueError as raised:
        written = _log(log_format)("it failed", error=raised)
    assert WORDS not in written
    shown = json.loads(written)["exception"] if log_format == "json" else written
    places = [*re.finditer(r"KeyError|line \d+, in fail|which has caused|ValueError(?=\W*$)", shown)]
    assert [place[0].partition(",")[0].rstrip("0123456789") for place in places] == [
        *("line ", "KeyError", "which has caused", "line ", "ValueError")
    ]
    assert len(shown) < MAX_EXCEPTION


def test_an_exception_that_causes_itself_is_told(log_format: LogFormat) -> None:
    one, two = _raised(lambda: ValueError("1")), _raised(lambda: TypeError("2"))
    one.__cause__, two.__cause__ = two, one
    assert "ValueError" in _log(log_format)("it failed", error=one)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConfigurationError("models.toml: default: must be a string"), "must be a string"),
        (PermissionError(13, "Permission denied", f"/home/{WORDS}"), "Permission denied"),
    ],
)
def test_what_operators_need_of_an_exception_is_told(log_format: LogFormat, error: Exception, told: str) -> None:
    written = _log(log_format)("it failed", error=_raised(lambda: error))
    assert told in written
    assert WORDS not in written


def test_a_librarys_line_has_neither_exceptions_words_nor_a_page(log_format: LogFormat) -> None:
    log = _log(log_format, "celery.worker")
    for written in (
        log("failed: %r", ValueError(WORDS)),
        log("failed: %(exc)s", {"exc": ValueError(WORDS)}),
        log(ValueError(WORDS)),
        log(f"Task exception was never retrieved\nfuture: <Task exception={WORDS}>"),
    ):
        assert WORDS not in written
        assert "failed: ValueError" in written or "ValueError" in written or "never retrieved" in written


def test_a_line_with_the_wrong_arguments_is_told_without_them(log_format: LogFormat) -> None:
    written = _log(log_format)("%d of %d", WORDS)
    assert "%d of %d" in written
    assert WORDS not in written


SECRETS = [
    ("hunter22", "the password is hunter22."),
    ("hunter23", "away: redis://user:hunter23@example.org:6379/0"),
    ("hunter24", "GET /v1/chat?key=hunter24&x=1 failed"),
    ("hunter25", "https://example.org/?q=hunter25"),
    ("c2VjcmV0c2VjcmV0", "Authorization: Bearer c2VjcmV0c2VjcmV0"),
    ("c2VjcmV0", "Authorization: Basic c2VjcmV0"),
    ("_x-y" * 10, f"sb_{'0123456789abcdef' * 2}_{'_x-y' * 10}"),
    ("Zz9_" * 11, f"switchboard=01a21885-21e0-71e2-a323-d5d1be9a18e1.{'Zz9_' * 11}; Path=/"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln is no good"),
    ("sk-proj-0123456789abcdef", "no such key: sk-proj-0123456789abcdef"),
]


@pytest.mark.parametrize(("secret", "message"), SECRETS)
@pytest.mark.parametrize("name", ["core.test", "urllib3.connectionpool"])
def test_a_line_shows_no_secret(log_format: LogFormat, name: str, secret: str, message: str) -> None:
    log = _log(log_format, name, logging.WARNING, "hunter22")
    for written in (log(message), log("%s", message), log("it failed", reason=message)):
        assert secret not in written
        assert "***" in written


def test_what_is_no_secret_stays(log_format: LogFormat) -> None:
    message = "postgresql at 127.0.0.1:5432 is away? 01a21885-21e0-71e2-a323-d5d1be9a18e1 waits"
    assert message in _log(log_format, "core.test", logging.WARNING, "postgres", "", "27")(message)


def test_an_object_that_can_not_be_shown_ends_nothing(log_format: LogFormat) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError(WORDS)

    shown: Any = Broken()
    assert "%s is broken" in _log(log_format)("%s is broken", shown)
