"""`ai` 5, 6, 7 and the transport of `@ai-sdk/workflow`: what they show is the conversation, once, whatever happens.

Each test has all four do the same at the same time, each in a session of its own: two are guests, two are users.
"""

import itertools
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx2
import pytest

from core.sessions.credential import Credential
from tests.clients.node import Driver, require_packages
from tests.conftest import new_user
from tests.faults.fleet import Fleet
from tests.support.provider import ANSWER, ProviderServer
from tests.support.waiting import wait_for

HERE = Path(__file__).parent / "ai_sdk"
CLIENTS = ("ai5", "ai6", "ai7", "workflow")
BURST = 5
"""Messages that a session may be sent at once."""
WAIT = 60.0
"""Seconds for what comes by itself, on a busy machine."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def fleet(
    _migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory, provider: ProviderServer
) -> Iterator[Fleet]:
    """The installation that all tests share."""
    require_packages(HERE)
    path = tmp_path_factory.mktemp("clients") / "test.db"
    shutil.copy(_migrated_sqlite, path)
    limit = f"{BURST}/h"
    installation = Fleet(
        f"sqlite:///{path}",
        provider,
        SWITCHBOARD_LIMIT_MESSAGES_ANONYMOUS=limit,
        SWITCHBOARD_LIMIT_MESSAGES_USER=limit,
        SWITCHBOARD_STREAMS_ADDRESS="off",
    )
    installation.start()
    yield installation
    installation.close()


@pytest.fixture(scope="module")
def driver(fleet: Fleet) -> Iterator[Driver]:
    """The program with the clients."""
    running = Driver(HERE / "driver.js")
    # The first of all may wait longer for a store than it may, and be told 503.
    wait_for(lambda: _is_warm(running, fleet), seconds=WAIT, what="questions are answered")
    yield running
    running.close()


def _is_warm(driver: Driver, fleet: Fleet) -> bool:
    chat = Chat(driver, fleet, "ai7", "good")
    chat.do("send", text="Why?")
    return chat.state["error"] is None


class Chat:
    """One client's chat, in a session of its own."""

    _numbers = itertools.count()

    def __init__(self, driver: Driver, fleet: Fleet, client: str, model: str) -> None:
        self.client = client
        self._driver = driver
        self._base = fleet.web.url
        self._proof = _session(fleet, model, owned=client in ("ai6", "workflow"))
        self.session_id = self._proof["X-Session-ID"].partition(".")[0]
        self.reload([])

    def reload(self, messages: list[dict[str, Any]] | None = None) -> None:
        """Begin anew, as a page that is loaded again, with the conversation as the server has it."""
        self._number = next(self._numbers)
        self._driver.do(
            "open",
            chat=self._number,
            client=self.client,
            api=f"{self._base}/api/chat",
            id=self.session_id,
            headers=self._proof,
            messages=self.get(f"/api/chat/{self.session_id}/messages") if messages is None else messages,
        )

    def begin(self, command: str, **options: Any) -> "Future[Any]":
        """Have the client do something."""
        return self._driver.begin(command, chat=self._number, **options)

    def do(self, command: str, **options: Any) -> None:
        """Have the client do something, to its end."""
        self._driver.do(command, chat=self._number, **options)

    @property
    def state(self) -> dict[str, Any]:
        """The client's."""
        state: dict[str, Any] = self._driver.do("state", chat=self._number)
        return state

    @property
    def answer(self) -> str:
        """The text of the newest message."""
        messages = self.state["messages"]
        return _text(messages[-1]) if messages else ""

    def get(self, path: str) -> Any:
        """What the server has there."""
        return self._request("GET", path).json()

    def post(self, path: str, body: Any) -> httpx2.Response:
        """Send something beside the client."""
        return self._request("POST", path, json=body)

    def _request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return httpx2.request(method, self._base + path, headers=self._proof, timeout=20, trust_env=False, **options)

    def check(self) -> None:
        """What the client shows is the conversation."""
        messages, state = self.get("/session/messages")["messages"], self.state
        shown = [(message["role"], _text(message)) for message in state["messages"]]
        assert shown == [(message["role"], message["text"]) for message in messages], (
            self.client,
            state["error"],
            state["statuses"],
        )
        answers = [message["id"] for message in messages if message["role"] == "assistant"]
        assert [message["id"] for message in state["messages"] if message["role"] == "assistant"] == answers


def _session(fleet: Fleet, model: str, *, owned: bool) -> dict[str, str]:
    """A new session; the headers that prove to hold it."""
    runtime = fleet.runtime
    owner = new_user(runtime.database) if owned else None
    guest = Credential.issue()
    secret_hash = None if owned else guest.secret_hash
    with runtime.database.writing() as db:
        session = runtime.sessions.create_session(
            db, owner, session_id=guest.session_id, secret_hash=secret_hash, model=model
        )
        if not owner:
            return {"X-Session-ID": str(guest)}
        _, key = runtime.api_keys.create(owner, "client", db)
        return {"Authorization": f"Bearer {key}", "X-Session-ID": str(session.id)}


def _text(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


Open = Callable[[str], Sequence[Chat]]


@pytest.fixture
def chats(driver: Driver, fleet: Fleet, provider: ProviderServer) -> Iterator[Open]:
    """Opens a chat of each client, with a model."""
    provider.go_on.clear()
    yield lambda model: [Chat(driver, fleet, client, model) for client in CLIENTS]
    provider.go_on.set()


def _all(chats: Sequence[Chat], command: str, **options: Any) -> None:
    """Have all do the same, to its end."""
    for future in [chat.begin(command, **options) for chat in chats]:
        future.result(60)


def _shows(chat: Chat, words: str) -> None:
    """Wait until the client shows the beginning of an answer."""

    def look() -> bool:
        state = chat.state
        assert state["error"] is None, (chat.client, state)
        return bool(state["messages"]) and _text(state["messages"][-1]).startswith(words)

    wait_for(look, seconds=WAIT, what=f"{chat.client} shows words")


def _ask_and_wait(chats: Sequence[Chat], words: str = "Wait") -> "list[Future[Any]]":
    """Ask, and wait until each shows the beginning of the answer."""
    asked = [chat.begin("send", text="Why?") for chat in chats]
    for chat in chats:
        _shows(chat, words)
    return asked


def _connected(chat: Chat, times: int) -> None:
    """Wait until the client has been answered so often that it may read a stream."""
    wait_for(lambda: chat.state["statuses"].count(200) >= times, seconds=WAIT, what=f"{chat.client} is connected")


def _finished(asked: "list[Future[Any]]") -> None:
    for future in asked:
        future.result(60)


def test_a_conversation_with_thoughts(chats: Open) -> None:
    opened = chats("thinks")
    _all(opened, "send", text="Why?")
    _all(opened, "send", text="And why that?")
    for chat in opened:
        chat.check()
        state = chat.state
        assert (state["status"], state["error"]) == ("ready", None)
        answer = state["messages"][-1]
        assert [part["type"] for part in answer["parts"]] == ["step-start", "reasoning", "text"]
        assert {part.get("state") for part in answer["parts"][1:]} == {"done"}
        metadata = answer["metadata"]
        assert (metadata["session_id"], metadata["model"]) == (chat.session_id, "thinks")
        assert (metadata["finish_reason"], metadata["usage"]["completion_tokens"] > 0) == ("stop", True)
        assert {part["type"] for part in state["data"]} == {"data-queue"}
        chat.reload()
        chat.check()


def test_a_reload_in_mid_answer_and_one_after_it(chats: Open, provider: ProviderServer) -> None:
    opened = chats("paused")
    _ask_and_wait(opened)
    for chat in opened:
        chat.reload()
        assert [message["role"] for message in chat.state["messages"]] == ["user"]
    resumed = [chat.begin("resume") for chat in opened]
    for chat in opened:
        _shows(chat, "Wait")
    again = [chat.begin("resume") for chat in opened]  # with a part of the answer on screen
    for chat in opened:
        _connected(chat, 2)
    provider.go_on.set()
    _finished(resumed + again)
    for chat in opened:
        chat.check()
        assert chat.answer.endswith(" for it")
        chat.do("resume")  # nothing is live
        assert (chat.state["status"], chat.state["error"]) == ("ready", None)
        chat.check()


def test_a_stop(chats: Open) -> None:
    opened = chats("paused")
    asked = _ask_and_wait(opened)
    for chat in opened:
        assert chat.post(f"/api/chat/{chat.session_id}/stop", {}).status_code == 202
    _finished(asked)
    for chat in opened:
        chat.check()
        assert chat.get("/session/messages")["messages"][-1]["state"] == "stopped"
        assert chat.state["messages"][-1]["metadata"]["finish_reason"] == "stopped"


def test_failures_and_what_is_refused_are_told_and_a_fallback_is_shown(chats: Open, provider: ProviderServer) -> None:
    for chat in (failing := chats("away")):
        chat.do("send", text="Why?")
        state = chat.state
        assert (state["status"], "model" in state["error"]) == ("error", True), state
    for chat in failing:
        for _ in range(BURST):
            chat.do("send", text="Why?")
        assert "/problems/rate-limited" in chat.state["error"]

    falling = chats("falls-back")
    _all(falling, "send", text="Why?")
    for chat in falling:
        chat.check()
        assert chat.answer == ANSWER
        told = next(part["data"] for part in chat.state["messages"][-1]["parts"] if part["type"] == "data-fallback")
        assert told["to"] in ("unauthorized", "good")  # as models rest meanwhile
        assert chat.state["messages"][-1]["metadata"]["model"] == "good"

    busy = chats("paused")
    asked = _ask_and_wait(busy)
    for chat in busy:
        first, chat._number = chat._number, -1
        chat.reload([])
        chat.do("send", text="And now?")
        assert "/problems/generation-in-progress" in chat.state["error"]
        chat._number = first
    provider.go_on.set()
    _finished(asked)
    for chat in busy:
        chat.check()


def test_an_edit_and_another_answer(chats: Open) -> None:
    opened = chats("good")
    _all(opened, "send", text="First")
    _all(opened, "send", text="Second")
    for chat in opened:
        second = chat.state["messages"][2]["id"]  # the client's own id
        chat.do("send", text="Second, better", messageId=second)
        chat.check()
        chat.do("regenerate")
        chat.check()
        newest = chat.get("/session/messages")["messages"]
        assert [len(message["siblings"]) for message in newest] == [1, 1, 2, 2]
        chat.reload()
        chat.do("send", text="First, better", messageId=chat.state["messages"][0]["id"])  # ours
        chat.check()
        assert len(chat.state["messages"]) == 2


def test_the_chat_worker_is_killed_in_mid_answer(chats: Open, fleet: Fleet, provider: ProviderServer) -> None:
    opened = chats("paused")
    asked = _ask_and_wait(opened)
    for worker in fleet.workers:
        worker.send(signal.SIGKILL)
    provider.go_on.set()
    fleet.start()
    _finished(asked)
    for chat in opened:
        chat.check()
        assert chat.state["status"] == "ready"


def test_the_web_process_is_replaced_in_mid_answer(chats: Open, fleet: Fleet, provider: ProviderServer) -> None:
    opened = chats("paused")
    asked = _ask_and_wait(opened)
    fleet.web.reload()  # another process takes what comes, and this one's streams end
    for chat, future in zip(opened, asked, strict=True):
        if chat.client != "workflow":
            future.result(60)
            assert chat.state["status"] == "error"  # and not a whole answer
            if chat.client == "ai5":
                chat.reload()  # it would go on in the parts that it has
            asked[opened.index(chat)] = chat.begin("resume")
    for chat in opened:
        _connected(chat, 1 if chat.client == "ai5" else 2)  # one that came later would find nothing to go on with
    provider.go_on.set()
    _finished(asked)
    for chat in opened:
        chat.check()
        assert (chat.state["status"], chat.answer.endswith(" for it")) == ("ready", True), chat.state
