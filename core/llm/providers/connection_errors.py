"""Errors of connections and of HTTP as ProviderErrors: how far a request had come tells what its failure means."""

import socket
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http_exceptions import LineTooLong

from core.llm.providers.base import ErrorKind, ProviderError
from core.llm.providers.proxies import Proxy

NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
    "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL",
)
"""What OpenSSL calls an answer that is none of TLS."""
UNTRUSTED = (18, 19, 20, 21)
"""OpenSSL's numbers for certificates of an authority that is not trusted here; others are expired, say."""


class RequestProgress:
    """How far one request has come."""

    def __init__(self, scheme: str, proxy: Proxy | None) -> None:
        """`scheme`: of the server's URL."""
        self.scheme = scheme
        self.proxy = proxy
        self.sent = False
        """Whether the server is being asked: what goes wrong before that is on the way to it."""
        self.answered = False
        """Whether the server has begun to answer."""
        self.when_sent: Callable[[], None] | None = None

    def note_sent(self) -> None:
        """Take note that the server is being asked."""
        self.sent = True
        if self.when_sent:
            self.when_sent()

    @property
    def proxy_name(self) -> str:
        """The proxy, by the variable that names it; empty without one."""
        return f"the proxy of {self.proxy.variable}" if self.proxy else ""

    @property
    def hint(self) -> str:
        """What may be wrong when the answer is no HTTP, or empty: the end of a sentence."""
        if self.proxy:
            other = "an HTTP one (http://)" if self.proxy.url.startswith("socks") else "a SOCKS one (socks5h://)"
            return f"; is {self.proxy_name} {other}?"
        return "; is it https://?" if self.scheme == "http" else ""

    def is_at_proxy(self, error: aiohttp.ClientConnectorError) -> bool:
        """Whether it is the proxy to which there is no connection."""
        return self.proxy is not None and error.host == urlsplit(self.proxy.url).hostname


def connection_error(error: Exception, progress: RequestProgress) -> ProviderError:
    """The error that has stopped a request, in words that no server wrote."""
    name = type(error).__name__
    match error:
        case TimeoutError() if progress.sent:
            return ProviderError(ErrorKind.TIMEOUT, "ReadTimeout")
        case TimeoutError():
            at_proxy = f"{progress.proxy_name}, or what is behind it" if progress.proxy else ""
            return ProviderError(ErrorKind.UNREACHABLE, _joined("ConnectTimeout", at_proxy))
        case _ if _is_refusal_of_proxy(error):
            return ProviderError(ErrorKind.UNREACHABLE, f"ProxyError: {progress.proxy_name} did not let it through")
        case _ if name == "ProxyConnectionError":  # to a SOCKS proxy
            return ProviderError(ErrorKind.UNREACHABLE, _joined("ConnectError", progress.proxy_name, _reason(error)))
        case aiohttp.ClientConnectorError():
            at_proxy = progress.proxy_name if progress.is_at_proxy(error) else ""
            return ProviderError(ErrorKind.UNREACHABLE, _joined("ConnectError", at_proxy, _reason(error)))
        case _ if not progress.sent and isinstance(error.__cause__, ssl.SSLError):  # behind a SOCKS proxy
            return ProviderError(ErrorKind.UNREACHABLE, _joined("ConnectError", _reason(error)))
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return ProviderError(ErrorKind.MISCONFIGURED, "base_url can't be asked")
        case OverflowError() | TypeError() | ValueError() if not progress.sent:
            return ProviderError(
                ErrorKind.MISCONFIGURED, f"no request can be made ({name}): see the table's values, and the proxy's"
            )
        case _ if not progress.sent:
            return ProviderError(ErrorKind.UNREACHABLE, f"{name} on the way to it{progress.hint}")
        case aiohttp.ClientResponseError() if not progress.answered and not isinstance(error.__cause__, LineTooLong):
            kind = ErrorKind.UNREACHABLE if progress.proxy else ErrorKind.BROKEN_STREAM
            return ProviderError(kind, f"RemoteProtocolError: what came is no HTTP{progress.hint}")
        case _ if not progress.answered:
            return ProviderError(ErrorKind.BROKEN_STREAM, f"{name} before any answer{progress.hint}")
    # What remains is a server that does not speak the protocol.
    return ProviderError(ErrorKind.BROKEN_STREAM, name)


def _is_refusal_of_proxy(error: Exception) -> bool:
    """Whether a proxy does not let the request through, be it an HTTP or a SOCKS one."""
    if type(error).__name__ == "ProxyError":  # also of what is no SOCKS at all
        return getattr(error, "error_code", None) is not None or "authentication" in str(error).lower()
    return isinstance(error, aiohttp.ClientHttpProxyError)


def _joined(*parts: str) -> str:
    return ": ".join(filter(None, parts))


def _reason(error: Exception) -> str:
    """Why there is no connection; empty when that is not known."""
    cause = error.__cause__
    while cause is not None:
        match cause:
            case ssl.SSLCertVerificationError():
                remedy = (
                    "; SSL_CERT_FILE says whom to trust (docs/models.md)" if cause.verify_code in UNTRUSTED else ""
                )
                return f"the certificate is not trusted, {cause.verify_message}{remedy}"
            case ssl.SSLError() if cause.reason in NOT_TLS:
                return "there is no TLS there; is it http://?"
            case ssl.SSLError() if cause.reason:
                return f"TLS failed, {cause.reason.replace('_', ' ').lower()}"
            case socket.gaierror():
                return "its name is not known"
            case ConnectionRefusedError():
                return "nothing listens there"
            case ConnectionResetError():
                return "it cuts the connection"
        cause = cause.__cause__ or cause.__context__
    return ""
