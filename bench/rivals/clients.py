"""The readers, all in one process: each asks as its server's own page or client does, and comes back as that does."""

import asyncio
import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from uuid import uuid4

import aiohttp
import uvloop

from bench.rivals.heard import Heard

BROKEN = (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError)
RETRY = 0.5
"""Seconds after which a question that is not taken is asked again, or a stream that broke is opened again."""
EVENT_ID = re.compile(rb"^id: ?(\S+)$", re.MULTILINE)
FAILED = re.compile(rb"event:failed\n.*")
EVENT_SOURCE_RETRY = 3.0
"""Seconds after which a browser's EventSource comes back."""
SUBSCRIBED = 1.0
"""Seconds that a reader waits after it has subscribed where the server doesn't say when it has."""


@dataclass(frozen=True)
class Target:
    """Where to ask."""

    url: str
    model: str
    credentials: Sequence[str] = ()
    """Of sessions, one for each question."""

    def after(self, questions: int) -> "Target":
        """The same for those that are asked after so many."""
        return replace(self, credentials=self.credentials[questions:])


class Client(ABC):
    """What asks one question."""

    def __init__(self, http: aiohttp.ClientSession, target: Target, number: int) -> None:
        self.heard = Heard()
        self._http = http
        self._target = target
        self._number = number

    @abstractmethod
    async def ask(self) -> None:
        """Ask, and read to the answer's end, or until there is no more to be had."""

    @asynccontextmanager
    async def _taken(
        self, path: str, body: object, headers: dict[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to a question, asked again until it is taken."""
        while True:
            try:
                response = await self._http.post(self._target.url + path, json=body, headers=headers)
            except BROKEN:
                await asyncio.sleep(RETRY)
                continue
            if response.status < 300:
                break
            self.heard.trouble = f"{response.status} {(await response.text())[:200]}"
            await asyncio.sleep(RETRY)
        async with response:
            yield response

    async def _read(self, response: aiohttp.ClientResponse, end: bytes) -> bool:
        """Read a stream; whether its last words were an end."""
        async for block in response.content.iter_any():
            if end in self.heard.take(block):
                return True
        return False


class OpenAI(Client):
    """The provider itself, and what looks like it: a stream that breaks can't be had again."""

    async def ask(self) -> None:
        body = {
            "model": self._target.model,
            "messages": [{"role": "user", "content": "Count."}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        with suppress(*BROKEN):
            headers = {"Authorization": "Bearer sk-bench"}
            async with self._taken("/v1/chat/completions", body, headers) as response:
                self.heard.ended = await self._read(response, b"[DONE]")


class Switchboard(Client):
    """Comes back after the last event that it has seen."""

    async def ask(self) -> None:
        headers = {"X-Session-ID": self._target.credentials[self._number], "Accept": "text/event-stream"}
        last_id = ""
        with suppress(*BROKEN):
            async with self._taken("/chat/sse", {"message": "Count."}, headers) as response:
                last_id = await self._follow(response, last_id)
        while not self.heard.ended:
            await asyncio.sleep(RETRY)
            with suppress(*BROKEN):
                after = {"Last-Event-ID": last_id} if last_id else {}
                async with self._http.get(self._target.url + "/chat/sse", headers={**headers, **after}) as response:
                    last_id = await self._follow(response, last_id)

    async def _follow(self, response: aiohttp.ClientResponse, last_id: str) -> str:
        """Whole events only: the id of the last one."""
        rest = b""
        with suppress(*BROKEN):
            async for block in response.content.iter_any():
                events, end, rest = (rest + block).rpartition(b"\n\n")
                if ids := EVENT_ID.findall(events):
                    last_id = ids[-1].decode()
                self.heard.take(events + end)
                if failed := FAILED.search(events):
                    self.heard.trouble = failed[0].decode(errors="replace")[:200]
                if failed or b"event:done\n" in events:
                    self.heard.ended = True
                    break
        return last_id


class ResumableStream(Client):
    """Comes back with the number of characters that it has. As in the library's README, 422 means that the stream is
    over; after any other refusal by a server that is there, there is no more to be had."""

    async def ask(self) -> None:
        stream = str(uuid4())
        received = 0
        with suppress(*BROKEN):
            async with self._taken(f"/{stream}", {"model": self._target.model}) as response:
                async for block in response.content.iter_any():
                    received += len(block)
                    self.heard.take(block)
                self.heard.ended = True
        while not self.heard.ended:
            await asyncio.sleep(RETRY)
            try:
                async with self._http.get(f"{self._target.url}/{stream}?resumeAt={received}") as response:
                    if response.status == 503:
                        continue
                    if response.status != 200:
                        self.heard.trouble = f"{response.status} {(await response.text())[:200]}"
                        return
                    async for block in response.content.iter_any():
                        received += len(block)
                        self.heard.take(block)
                    self.heard.ended = True
            except BROKEN:
                continue


class FlaskSSE(Client):
    """An EventSource on a channel of its own, and a question that names the channel."""

    async def ask(self) -> None:
        channel = str(uuid4())
        streaming = asyncio.create_task(self._subscribe(channel))
        try:
            await asyncio.sleep(SUBSCRIBED)
            self.heard.asked = time.monotonic_ns()
            async with self._taken("/ask", {"channel": channel, "model": self._target.model}):
                pass
            await streaming
        finally:
            streaming.cancel()

    async def _subscribe(self, channel: str) -> None:
        while not self.heard.ended:
            with suppress(*BROKEN):
                async with self._http.get(f"{self._target.url}/stream?channel={channel}") as response:
                    self.heard.ended = await self._read(response, b"event:done")
            if not self.heard.ended:
                await asyncio.sleep(EVENT_SOURCE_RETRY)


class Chainlit(Client):
    """Socket.IO (protocol 5, over engine.io 4) as Chainlit's page speaks it: it comes back with its session's id."""

    async def ask(self) -> None:
        session = str(uuid4())
        asked = False
        while not self.heard.ended:
            with suppress(*BROKEN, TypeError):  # TypeError: a frame that says that the connection is closed
                async with self._http.ws_connect(
                    self._target.url + "/ws/socket.io/?EIO=4&transport=websocket", max_msg_size=0
                ) as socket:
                    await socket.receive_str()
                    auth = {"sessionId": session, "clientType": "webapp", "userEnv": "{}", "chatProfile": ""}
                    await socket.send_str("40" + json.dumps(auth))
                    await socket.receive_str()
                    await socket.send_str('42["connection_successful"]')
                    if not asked:
                        asked = True
                        self.heard.asked = time.monotonic_ns()
                        await socket.send_str("42" + json.dumps(["client_message", {"message": self._message()}]))
                    await self._listen(socket)
            if not self.heard.ended:
                await asyncio.sleep(RETRY)

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            frame = await socket.receive_str()
            if frame == "2":
                await socket.send_str("3")
            elif frame.startswith(('42["stream_start"', '42["stream_token"')):
                self.heard.take(frame.encode())
            elif frame.startswith('42["task_end"') and self.heard.numbers:
                self.heard.ended = True
                return

    def _message(self) -> dict[str, object]:
        return {
            "id": str(uuid4()),
            "threadId": "",
            "name": "user",
            "type": "user_message",
            "output": self._target.model,
            "createdAt": "2026-01-01T00:00:00.000Z",
        }


CLIENTS: dict[str, Callable[[aiohttp.ClientSession, Target, int], Client]] = {
    kind.__name__: kind for kind in (OpenAI, Switchboard, ResumableStream, FlaskSSE, Chainlit)
}


def run(control: Connection) -> None:
    """The process. For each (client, target, starts, patience) it is sent, asks a question at each start, in seconds
    from now; sends `begun`, and then what each reader has heard. A reader gives up after `patience` seconds without a
    word."""
    while True:
        kind, target, starts, patience = control.recv()
        uvloop.run(_ask_all(control, CLIENTS[kind], target, starts, patience))


async def _ask_all(
    control: Connection,
    kind: Callable[[aiohttp.ClientSession, Target, int], Client],
    target: Target,
    starts: Sequence[float],
    patience: float,
) -> None:
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        clients = [kind(http, target, number) for number in range(len(starts))]
        asking = [_ask(client, start, patience) for client, start in zip(clients, starts, strict=True)]
        control.send("begun")
        await asyncio.gather(*asking)
    control.send([client.heard for client in clients])


async def _ask(client: Client, start: float, patience: float) -> None:
    await asyncio.sleep(start)
    client.heard.asked = time.monotonic_ns()
    asking = asyncio.create_task(client.ask())
    while not asking.done():
        silence = (time.monotonic_ns() - client.heard.last) / 1e9
        if silence > patience:
            asking.cancel()
        await asyncio.wait([asking], timeout=max(0.05, patience - silence))
    await _outcome(asking)


async def _outcome(asking: Awaitable[None]) -> None:
    with suppress(asyncio.CancelledError):
        await asking
