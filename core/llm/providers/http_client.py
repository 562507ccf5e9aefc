"""The HTTP that the wire protocols have in common: a client for one URL, and a response that is read as it comes.

Both are used on the event loop only. No connection is used twice, so that to close one concerns no other answer.
"""

import asyncio
import io
import os
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import aiohttp
from yarl import URL

from core.llm.providers.base import ErrorKind, ProviderError
from core.llm.providers.certificates import trust
from core.llm.providers.compression import Decoder
from core.llm.providers.connection_errors import RequestProgress, connection_error
from core.llm.providers.final_response import FinalResponse
from core.llm.providers.name_lookup import Resolver
from core.llm.providers.proxies import Proxy, proxy_for

MAX_HEADER = 32 * 1024
"""Bytes of a line of a response's head, of which there may be MAX_HEADERS."""
MAX_HEADERS = 128
SOCKS_PORT = 1080
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=3600)
"""Deadlines are kept here, and by who reads; a SOCKS proxy would be given another one if none were named."""


class Client:
    """Makes requests to one URL, by the environment's proxy."""

    def __init__(
        self,
        url: str,
        *,
        connect_timeout: float,
        head_timeout: float,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """`connect_timeout`: seconds until the request is on its way, proxies included; `head_timeout`: from then on
        until the server begins to answer.

        Raises ProviderError(MISCONFIGURED) that names the variable when one of the environment is wrong that concerns
        this URL.
        """
        self._connect_timeout, self._head_timeout = connect_timeout, head_timeout
        self._proxy = proxy_for(url, environment)
        self._proxy_url = URL(self._proxy.url, encoded=True) if self._proxy else None
        self._socks = self._proxy_url is not None and self._proxy_url.scheme.startswith("socks")
        self._tls = trust(environment) if _is_encrypted(url, self._proxy) else None
        try:
            parsed = URL(url, encoded=True)
            self._url = parsed.with_user(None)
            user = (parsed.user, parsed.password or "") if parsed.user else None
            self._credentials = {"Authorization": aiohttp.encode_basic_auth(*user)} if user else {}
        except (ValueError, TypeError):
            raise ProviderError(ErrorKind.MISCONFIGURED, "base_url can't be asked") from None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connector: aiohttp.TCPConnector | None = None
        self._trace = aiohttp.TraceConfig()
        self._trace.on_request_headers_sent.append(_note_sent)

    async def send(
        self, headers: Mapping[str, str], body: bytes | None = None, when_sent: Callable[[], None] = lambda: None
    ) -> "Response":
        """POST the body, or GET without one; the response once its head has come. A redirect is one: what was sent
        goes to this URL only. `when_sent` is called when the request's head has been. Raises ProviderError."""
        progress = RequestProgress(self._url.scheme, self._proxy)
        session = aiohttp.ClientSession(
            connector=self._shared_connector(),
            connector_owner=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=NO_TIMEOUT,
            auto_decompress=False,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
            max_headers=MAX_HEADERS,
            response_class=FinalResponse,
            trace_configs=[self._trace],
        )
        try:
            async with asyncio.timeout(self._connect_timeout) as limit:

                def note_sent() -> None:
                    limit.reschedule(asyncio.get_running_loop().time() + self._head_timeout)
                    when_sent()

                progress.when_sent = note_sent
                response = await session.request(
                    "GET" if body is None else "POST",
                    self._url,
                    data=None if body is None else io.BytesIO(body),
                    headers={"User-Agent": "Switchboard", **headers, **self._credentials},
                    allow_redirects=False,
                    proxy=None if self._socks else self._proxy_url,
                    ssl=self._tls or True,
                    trace_request_ctx=progress,
                )
        except Exception as error:
            # Not `from error`: the message may quote the server, and a traceback would quote it.
            raise connection_error(error, progress) from None
        finally:
            progress.when_sent = None  # which holds the task, that holds this
            session.detach()
        return Response(response, progress)

    def _shared_connector(self) -> aiohttp.TCPConnector:
        """Of the running loop. It holds no connection, but names that were looked up, so it need not be closed."""
        if self._connector is None or self._loop is not asyncio.get_running_loop():
            self._loop, self._connector = asyncio.get_running_loop(), self._new_connector()
        return self._connector

    def _new_connector(self) -> aiohttp.TCPConnector:
        if not self._socks or self._proxy_url is None:
            return aiohttp.TCPConnector(limit=0, force_close=True, resolver=Resolver())
        from aiohttp_socks import ProxyConnector  # few have such a proxy

        return ProxyConnector(
            host=self._proxy_url.host or "",
            port=self._proxy_url.port or SOCKS_PORT,
            username=self._proxy_url.user,
            password=self._proxy_url.password,
            rdns=True,
            limit=0,
            force_close=True,
        )


class Response:
    """What a server answers with. It is to be closed, by the one that reads it."""

    def __init__(self, response: aiohttp.ClientResponse, progress: RequestProgress) -> None:
        """Raises ProviderError when its body can't be read."""
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        progress.answered = True
        self._response, self._progress = response, progress
        self._content = response.content
        try:
            self._decoder = Decoder(response.headers.getall("Content-Encoding", ()))
        except ProviderError:
            self.close()
            raise

    async def read(self) -> bytes:
        """The next bytes of the body, decompressed, PIECE_SIZE at most; none at its end. There is no deadline.
        Raises ProviderError."""
        if piece := self._decoder.feed():
            await asyncio.sleep(0)  # much has come at once: it is the turn of other answers
            return piece
        try:
            while received := await self._content.readany():
                if piece := self._decoder.feed(received):
                    return piece
        except aiohttp.ClientError as error:
            raise connection_error(error, self._progress) from None
        return b""

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


async def _note_sent(
    _: aiohttp.ClientSession, context: SimpleNamespace, __: aiohttp.TraceRequestHeadersSentParams
) -> None:
    progress: RequestProgress = context.trace_request_ctx
    progress.note_sent()


def _is_encrypted(url: str, proxy: Proxy | None) -> bool:
    return url.startswith("https:") or (proxy is not None and proxy.url.startswith("https:"))
