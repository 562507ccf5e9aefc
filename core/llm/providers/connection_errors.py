"""Errors of connections and of HTTP as ProviderErrors: how far a request had come tells what its failure means."""

import socket
import ssl

import httpx2

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
TO_THE_PROXY = (".connect_tcp.failed", "connection.start_tls.failed")
"""Events of a connection's own end: the proxy, where there is one. What is beyond has other names."""


class RequestProgress:
    """How far one request has come, as the HTTP client's trace events tell."""

    def __init__(self, url: str, proxy: Proxy | None) -> None:
        self.url = url
        self.proxy = proxy
        self.sent = False
        """Whether the server is being asked: what goes wrong before that is on the way to it."""
        self.answered = False
        """Whether the server has begun to answer."""
        self.failed = ""
        """The HTTP client's name for what it could not do."""

    def observe(self, event: str, method: bytes = b"") -> None:
        """Take note of a trace event of the HTTP client; `method`: of the request that it is about."""
        if event.endswith(".failed"):
            self.failed = self.failed or event
        elif event.endswith(".send_request_headers.started") and method != b"CONNECT":
            self.sent = True
        elif event.endswith(".receive_response_headers.complete") and self.sent:
            self.answered = True

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
        return "; is it https://?" if self.url.startswith("http:") else ""


def connection_error(error: Exception, progress: RequestProgress) -> ProviderError:
    """The error that has stopped a request, in words that no server wrote."""
    name = type(error).__name__
    match error:
        case httpx2.ProxyError():
            return ProviderError(ErrorKind.UNREACHABLE, f"{name}: {progress.proxy_name} did not let it through")
        case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.UnsupportedProtocol():
            at_proxy = progress.proxy_name if progress.failed.endswith(TO_THE_PROXY) else ""
            return ProviderError(ErrorKind.UNREACHABLE, ": ".join(filter(None, (name, at_proxy, _reason(error)))))
        case UnicodeError() | httpx2.InvalidURL():
            return ProviderError(ErrorKind.MISCONFIGURED, "base_url can't be asked")
        case OverflowError() | TypeError() | ValueError() if not progress.sent:
            return ProviderError(
                ErrorKind.MISCONFIGURED, f"no request can be made ({name}): see the table's values, and the proxy's"
            )
        case _ if not progress.sent:
            return ProviderError(ErrorKind.UNREACHABLE, f"{name} on the way to it{progress.hint}")
        case httpx2.TimeoutException():
            return ProviderError(ErrorKind.TIMEOUT, name)
        case httpx2.RemoteProtocolError() if not progress.answered and error.__cause__ and "illegal" in str(error):
            kind = ErrorKind.UNREACHABLE if progress.proxy else ErrorKind.BROKEN_STREAM
            return ProviderError(kind, f"{name}: what came is no HTTP{progress.hint}")
        case httpx2.HTTPError() if not progress.answered:
            return ProviderError(ErrorKind.BROKEN_STREAM, f"{name} before any answer{progress.hint}")
    # What remains is a server that does not speak the protocol.
    return ProviderError(ErrorKind.BROKEN_STREAM, name)


def _reason(error: BaseException | None) -> str:
    """Why there is no connection; empty when that is not known."""
    while error is not None:
        match error:
            case ssl.SSLCertVerificationError():
                remedy = (
                    "; SSL_CERT_FILE says whom to trust (docs/models.md)" if error.verify_code in UNTRUSTED else ""
                )
                return f"the certificate is not trusted, {error.verify_message}{remedy}"
            case ssl.SSLError() if error.reason in NOT_TLS:
                return "there is no TLS there; is it http://?"
            case ssl.SSLError() if error.reason:
                return f"TLS failed, {error.reason.replace('_', ' ').lower()}"
            case socket.gaierror():
                return "its name is not known"
            case ConnectionRefusedError():
                return "nothing listens there"
            case ConnectionResetError():
                return "it cuts the connection"
        error = error.__cause__ or error.__context__
    return ""
