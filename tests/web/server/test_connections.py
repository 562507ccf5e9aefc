"""What clients can do with connections, honest or not: real sockets, a real web process."""

import json
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.bystander import ATTACKS, BOUND, under_attack
from core.conversation.event_log import EventLog
from core.errors import Unavailable
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import WebProcess
from web.server import connections
from web.server.connections import Connection, Connections, TooSlow, peer

HEAD = b"POST /auth/logout HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
STREAM_CAP = 3


@pytest.fixture(scope="module")
def web(short_directory: Path) -> Iterator[WebProcess]:
    """A web process without a proxy, which lets one session, and one address, have few streams."""
    directory = short_directory / "edge"
    directory.mkdir()
    valkey = Valkey(directory)
    process = WebProcess(
        directory,
        valkey,
        SWITCHBOARD_STREAMS_SESSION=str(STREAM_CAP),
        SWITCHBOARD_STREAMS_ADDRESS=str(STREAM_CAP + 1),
    )
    yield process
    process.close()
    valkey.stop()


def _connect(web: WebProcess, data: bytes = b"") -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", web.port), 30)
    stream.sendall(data)
    return stream


def _rest(stream: socket.socket) -> bytes:
    blocks = []
    while block := stream.recv(65536):
        blocks.append(block)
    return b"".join(blocks)


def _is_problem(answer: bytes, status: int) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert b"content-type: application/problem+json" in head.lower()
    assert b"content-security-policy: " in head.lower()
    problem: dict[str, object] = json.loads(body)
    assert problem["status"] == status
    return problem


BROKEN = {
    "a bare LF": b"2\n{}",
    "a bare LF, later": b"1\r\n{\r\n1\n}\r\n0\r\n\r\n",
    "no size": b"\r\n{}\r\n0\r\n\r\n",
    "no number": b"zz\r\n{}\r\n0\r\n\r\n",
    "a sign": b"-2\r\n{}\r\n0\r\n\r\n",
    "more than it said": b"2\r\n{}}}\r\n0\r\n\r\n",
    "a long size": b"0" * 20_000,
    "a bad extension": b"2;\x01\r\n{}\r\n0\r\n\r\n",
    "a bad trailer": b"2\r\n{}\r\n0\r\nx y\r\n\r\n",
    "a bare LF in a trailer": b"2\r\n{}\r\n0\r\nx: y\n\r\n",
    "long trailers": b"2\r\n{}\r\n0\r\n" + b"x: y\r\n" * 1_000 + b"\r\n",
    "a long trailer": b"2\r\n{}\r\n0\r\nx: " + b"y" * 5_000,
    "chunks of a byte": b"1\r\n \r\n" * 1_500,
    "little but extensions": b"".join(b"1;%s\r\n \r\n" % (b"a" * 200) for _ in range(50)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_malformed_chunked_body_is_a_bad_request(web: WebProcess, name: str) -> None:
    with _connect(web, CHUNKED + BROKEN[name]) as stream:
        _is_problem(_rest(stream), 400)
    assert web.log == ""


@pytest.mark.parametrize("body", [b"5\r\n{}", b"2\r\n{}\r\n", b"2", b""])
def test_a_chunked_body_that_ends_early_is_a_bad_request(web: WebProcess, body: bytes) -> None:
    with _connect(web, CHUNKED + body) as stream:
        stream.shutdown(socket.SHUT_WR)
        _is_problem(_rest(stream), 400)
    assert web.log == ""


def test_a_body_shorter_than_it_said_is_a_bad_request(web: WebProcess) -> None:
    with _connect(web, HEAD + b"Content-Length: 100\r\n\r\n{}") as stream:
        stream.shutdown(socket.SHUT_WR)
        assert "Content-Length" in str(_is_problem(_rest(stream), 400)["detail"])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"cookie: " + b"a" * 8_000 + b"\r\n") * 9 + b"\r\n", 431),
        (HEAD + b"Transfer-Encoding: cake\r\n\r\n", 501),
        (HEAD + b"Expect: cake\r\n\r\n", 417),
    ],
)
def test_what_never_reaches_the_application_is_told_as_a_problem_too(
    web: WebProcess, request_: bytes, status: int
) -> None:
    with _connect(web, request_) as stream:
        _is_problem(_rest(stream), status)
    assert web.log == ""  # gunicorn's own words name the client's address


def test_a_connection_serves_on_after_a_body_that_nobody_wanted(web: WebProcess) -> None:
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    unwanted = (
        get + b"Content-Length: 5\r\n\r\nhello" + get + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    )
    with _connect(web, unwanted + get + b"Connection: close\r\n\r\n") as stream:
        assert _rest(stream).count(b"HTTP/1.1 200 OK") == 3


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(web: WebProcess) -> None:
    with _connect(web, HEAD + b"Content-Length: 2\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n") as stream:
        assert stream.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        stream.sendall(b"{}")
        assert _rest(stream).startswith(b"HTTP/1.1 204")


@pytest.mark.parametrize("length", [b"Content-Length: 200000", b"Transfer-Encoding: chunked"])
def test_every_body_but_a_chat_messages_is_small(web: WebProcess, length: bytes) -> None:
    body = b'{"x":"' + b"x" * 199_992 + b'"}'
    framed = body if b"Length" in length else b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    for path in (b"/auth/login", b"/auth/register", b"/session/create", b"/chat/stop"):
        head = HEAD.replace(b"/auth/logout", path) + b"Idempotency-Key: k\r\n"
        with _connect(web, head + length + b"\r\n\r\n" + framed) as stream:
            answer = _rest(stream)
        assert _is_problem(answer, 413)["type"] == "/problems/request-entity-too-large"
        assert b"\r\nconnection: close\r\n" in answer.lower()


@pytest.mark.parametrize("path", ["/auth/login", "/nowhere", "/auth/%6cogin"])
def test_no_more_is_read_of_a_chunked_body_than_its_path_may_have(web: WebProcess, path: str) -> None:
    """It is refused by what it says, before it has come."""
    with _connect(web, CHUNKED.replace(b"/auth/logout", path.encode()) + b"4001\r\n") as stream:
        stream.settimeout(5)
        _is_problem(_rest(stream), 413)


@pytest.mark.parametrize("size", [1_000, 5_000, 32_000])
def test_a_long_message_may_come_in_pieces(web: WebProcess, size: int) -> None:
    (session,) = web.new_sessions(1)
    body = json.dumps({"message": "\N{GRINNING FACE}" * 8_000, "nonsense": 1}).encode()
    head = CHUNKED.replace(b"/auth/logout", b"/chat").replace(
        b"\r\n\r\n", f"\r\nX-Session-ID: {session}\r\n".encode()
    )
    for end in (b"\r\n", b"Digest: x\r\n\r\n"):
        with _connect(web, head + b"Connection: close\r\n\r\n") as stream:
            for at in range(0, len(body), size):
                piece = body[at : at + size]
                stream.sendall(b"%x;part=1\r\n%s\r\n" % (len(piece), piece))
            stream.sendall(b"0\r\n" + end)
            assert "nonsense" in str(_is_problem(_rest(stream), 422)["detail"])


def test_a_head_that_grows_too_long_is_refused_before_its_end(web: WebProcess) -> None:
    fields = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + (b"cookie: " + b"a" * 8_000 + b"\r\n") * 5
    for begun, status in ((fields, 431), (b"GET /" + b"a" * 9_000, 414)):
        with _connect(web, begun) as stream:
            stream.settimeout(5)
            _is_problem(_rest(stream), status)
    with _connect(web, fields[: 30 * 1024] + b"\r\nConnection: close\r\n\r\n") as stream:
        assert _rest(stream).startswith(b"HTTP/1.1 200")


def test_a_request_in_single_bytes_is_read_as_any_other(web: WebProcess) -> None:
    requests = HEAD + b"Content-Length: 2\r\n\r\n{}" + CHUNKED[:-2] + b"Connection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    with _connect(web) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(requests)):
            stream.sendall(requests[at : at + 1])
        assert _rest(stream).count(b"HTTP/1.1 204") == 2


def test_requests_sent_ahead_are_all_answered(web: WebProcess) -> None:
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    with _connect(web, (get + b"\r\n") * 100 + get + b"Connection: close\r\n\r\n") as stream:
        assert _rest(stream).count(b"HTTP/1.1 200 OK") == 101


def test_requests_that_do_not_arrive_are_ended(web: WebProcess) -> None:
    """In ten seconds all in all, also when a byte comes now and then."""
    head, body = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", HEAD + b"Content-Length: 1000\r\n\r\n{"
    with ExitStack() as stack:
        stalled = {text: stack.enter_context(_connect(web, text)) for text in (b"", head, body, CHUNKED + b"5\r\n{")}
        trickling = {text: stack.enter_context(_connect(web, text)) for text in (head + b"X: ", body)}
        ended = threading.Event()

        def trickle() -> None:
            while not ended.wait(0.5):
                for stream in trickling.values():
                    try:
                        stream.send(b"x")
                    except OSError:
                        return

        sender = threading.Thread(target=trickle)
        sender.start()
        try:
            for text, stream in {**stalled, **trickling}.items():
                stream.settimeout(15)
                # A connection without a request is closed without a word: browsers open connections in advance.
                answer = _rest(stream)
                assert not answer if not text else _is_problem(answer, 408)
        finally:
            ended.set()
            sender.join()


def _stream(web: WebProcess, session: object, path: str = "/chat/sse") -> socket.socket:
    stream = _connect(
        web,
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Session-ID: {session}\r\nConnection: close\r\n\r\n".encode(),
    )
    stream.settimeout(15)
    return stream


def _status(stream: socket.socket) -> int:
    return int(stream.recv(4096).split()[1])


def test_streams_have_a_cap_and_make_room_when_they_end(web: WebProcess) -> None:
    one, other = web.new_sessions(2)
    with ExitStack() as stack:
        mine = [stack.enter_context(_stream(web, one)) for _ in range(STREAM_CAP)]
        assert [_status(stream) for stream in mine] == [200] * STREAM_CAP
        with _stream(web, one) as refused:
            answer = _rest(refused)
            assert b"Retry-After: " in answer
            assert _is_problem(answer, 429)["limit"] == "streams-session"
        with _stream(web, one, "/chat/sse/probe") as probe:  # it counts for the address
            assert _status(probe) == 200
            with _stream(web, other) as stranger:
                assert _is_problem(_rest(stranger), 429)["limit"] == "streams-address"
        # Requests of other kinds are not streams.
        with _connect(web, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") as asked:
            assert _status(asked) == 200
        mine[0].close()
        log = EventLog(web.valkey.client())

        def has_room() -> bool:
            # A reader that has left is noticed with the next event.
            log.append(one.session_id, "delta", {"n": 1}, expires_at=web.expires_at)
            with _stream(web, one) as stream:
                return _status(stream) == 200

        wait_for(has_room, what="a reader that has left has made room")


def test_a_page_may_be_loaded_again_and_again(web: WebProcess) -> None:
    """Each time it leaves a stream behind, on which nothing happens that would tell."""
    (session,) = web.new_sessions(1)
    for _ in range(4 * STREAM_CAP):
        with _stream(web, session) as stream:
            assert _status(stream) == 200
    with ExitStack() as stack:
        for _ in range(STREAM_CAP):
            assert _status(stack.enter_context(_stream(web, session))) == 200
        with _stream(web, session) as refused:  # those that are read have their places
            assert _is_problem(_rest(refused), 429)["limit"] == "streams-session"


def test_a_question_whose_stream_is_refused_has_changed_nothing(web: WebProcess) -> None:
    one, other = web.new_sessions(2)
    with ExitStack() as stack:
        for session in [one] * STREAM_CAP + [other]:
            assert _status(stack.enter_context(_stream(web, session))) == 200
        question = json.dumps({"message": "Why?"}).encode()
        head = HEAD.replace(b"/auth/logout", b"/chat/sse") + f"X-Session-ID: {other}\r\n".encode()
        with _connect(
            web, head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(question) + question
        ) as asked:
            assert _is_problem(_rest(asked), 429)["limit"] == "streams-address"
        reading = (
            f"GET /session/messages HTTP/1.1\r\nHost: localhost\r\nX-Session-ID: {other}\r\nConnection: close\r\n\r\n"
        )
        with _connect(web, reading.encode()) as asked:
            assert json.loads(_rest(asked).partition(b"\r\n\r\n")[2])["messages"] == []


def test_a_head_request_for_a_stream_holds_no_place(web: WebProcess) -> None:
    (session,) = web.new_sessions(1)
    head = f"HEAD /chat/sse HTTP/1.1\r\nHost: localhost\r\nX-Session-ID: {session}\r\nConnection: close\r\n\r\n"
    for _ in range(STREAM_CAP + 2):
        with _connect(web, head.encode()) as stream:
            assert b" 200 OK" in _rest(stream)


def test_the_web_process_may_open_as_many_files_as_the_system_allows(web: WebProcess) -> None:
    soft, hard = web.worker.rlimit(resource.RLIMIT_NOFILE)
    assert soft == hard


BYSTANDERS = [
    "half a head",
    "half a body",
    "marks",
    "fields",
    "streams",
    "a long head",
    "long trailers",
    "tiny chunks",
    "pipelines",
]


@pytest.mark.timing
@pytest.mark.parametrize("name", BYSTANDERS)
def test_a_bystander_notices_nothing(tmp_path: Path, short_directory: Path, web: WebProcess, name: str) -> None:
    """A small run of bench/bystander.py; once more when this machine had other things to do."""
    for _ in range(3):
        seen, made, _ = under_attack(web, ATTACKS[name], connections=3_000, seconds=1.5)
        assert made > 20
        assert not seen.failures
        if seen.holds:
            return
    raise AssertionError(f"p99 {seen.quantile(0.99):.3f} s, more than {BOUND} s")


# One connection, and the book that is kept of all


def _pair(book: Connections, address: str = "192.0.2.1") -> tuple[Connection, socket.socket, ExitStack]:
    near, far = socket.socketpair()
    stack = ExitStack()
    stack.enter_context(near)
    stack.enter_context(far)
    far.settimeout(5)
    return stack.enter_context(book.open(near, address)), far, stack


def test_too_many_cost_the_one_that_has_waited_longest() -> None:
    book = Connections(3)
    pairs = [_pair(book, f"192.0.2.{number}") for number in range(3)]
    pairs[0][0].received()
    newcomer = _pair(book, "192.0.2.9")
    assert [connection.is_cut for connection, _, _ in [*pairs, newcomer]] == [False, True, False, False]
    assert pairs[1][1].recv(1) == b""
    for _, _, stack in [*pairs, newcomer]:
        stack.close()


def test_too_many_of_one_address_cost_no_other() -> None:
    book = Connections(100, per_peer=2)
    bystander = _pair(book, "192.0.2.200")
    crowd = [_pair(book) for _ in range(4)]
    assert [connection.is_cut for connection, _, _ in crowd] == [True, True, False, False]
    assert not bystander[0].is_cut
    crowd[0][2].close()
    crowd[2][0].received()
    another = _pair(book)
    assert not crowd[3][0].is_cut
    for _, _, stack in [bystander, another, *crowd]:
        stack.close()


def test_a_client_that_does_not_read_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WRITE_TIMEOUT", 0.1)
    connection, _, stack = _pair(Connections(9))
    with stack, pytest.raises(BrokenPipeError):
        connection.sendall(b"x" * 5_000_000)


def test_a_client_that_reads_a_little_now_and_then_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "RESPONSE_TIMEOUT", 0.5)
    connection, far, stack = _pair(Connections(9))
    with stack:
        reading = threading.Thread(target=lambda: [far.recv(20_000) for _ in range(20)])
        reading.start()
        with pytest.raises(BrokenPipeError):
            connection.sendall(b"x" * 50_000_000)
        reading.join()
        connection.stream()
        connection.sendall(b"")


def test_answers_that_nobody_reads_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_UNSENT", 10_000_000)
    book, failed = Connections(9), []
    pairs = [_pair(book) for _ in range(3)]

    def send(number: int) -> None:
        try:
            pairs[number][0].sendall(b"x" * 4_000_000)
        except BrokenPipeError:
            failed.append(number)

    senders = [threading.Thread(target=send, args=(number,)) for number in range(3)]
    for number, sender in enumerate(senders):
        sender.start()
        wait_for(lambda: pairs[number][0] in book._unsent, what="it writes")  # noqa: B023
    senders[0].join(10)
    assert failed == [0]
    for _, far, _ in pairs:
        far.close()  # ends the others' writes
    for sender in senders:
        sender.join(10)
    for _, _, stack in pairs:
        stack.close()


def test_requests_that_stay_half_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_UNREAD", 1_000)
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT", 0.1)
    book = Connections(9)
    pairs = [_pair(book) for _ in range(3)]
    for connection, far, _ in pairs:
        far.sendall(b"x" * 400)
        with pytest.raises(TooSlow):
            connection.recv(8192)
    assert [connection.is_cut for connection, _, _ in pairs] == [True, False, False]
    for _, _, stack in pairs:
        stack.close()


def test_single_bytes_cost_few_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when they come as quickly as they are read."""
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT", 1.0)
    connection, far, stack = _pair(Connections(9))
    ended = threading.Event()

    def trickle() -> None:
        while not ended.wait(0.0005):
            far.send(b"x")

    sender = threading.Thread(target=trickle)
    with stack:
        sender.start()
        try:
            with pytest.raises(TooSlow):
                connection.recv(8192)
        finally:
            ended.set()
            sender.join()
        assert 1 < connection._small_reads < 50


def test_a_deadline_holds_while_more_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT", 0.1)
    connection, far, stack = _pair(Connections(9))
    with stack:
        far.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 20_000)
        connection.recv(8192)
        for _ in range(50):
            try:
                connection.recv(1)
            except TooSlow:
                return
    raise AssertionError("read on and on")


def test_a_slow_request_and_an_idle_connection_end_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT", 0.1)
    monkeypatch.setattr(connections, "KEEPALIVE_TIMEOUT", 0.1)
    connection, far, stack = _pair(Connections(9))
    with stack:
        assert connection.recv(10) == b""
        connection.next_request()
        assert connection.recv(10) == b""
        far.sendall(b"GET")
        connection.next_request()
        with pytest.raises(TooSlow):
            connection.recv(10)


def test_streams_leave_room_for_requests() -> None:
    book = Connections(10)
    pairs = [_pair(book) for _ in range(10)]
    for connection, _, _ in pairs[:9]:
        connection.stream()
    with pytest.raises(Unavailable):
        pairs[9][0].stream()
    pairs[0][0].end_answer()
    pairs[9][0].stream()
    for _, _, stack in pairs:
        stack.close()


@pytest.mark.parametrize(
    ("address", "whose"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_one_household_is_one_peer(address: str, whose: str) -> None:
    assert peer(address) == whose
