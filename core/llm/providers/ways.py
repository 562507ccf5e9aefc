"""The way to a model's server, how far a request has come on it, and in our words what went wrong there."""

import socket
import ssl

import httpx2

from core.llm.providers.base import ErrorKind, ProviderError
from core.llm.providers.proxies import Proxy

NO_TLS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
    "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL",
)
"""What OpenSSL calls an answer that is none of TLS."""
UNTRUSTED = (18, 19, 20, 21)
"""Its numbers for certificates of an authority that nobody here knows; others are expired, say, or another's."""
TO_THE_PROXY = (".connect_tcp.failed", "connection.start_tls.failed")
"""Events of a connection's own end: the proxy, where there is one. What is beyond has other names."""


class Way:
    """One request's way."""

    def __init__(self, url: str, proxy: Proxy | None) -> None:
        self.url = url
        self.proxy = proxy
        self.sent = False
        """Whether the server is being asked: what goes wrong before that is on the way to it."""
        self.heard = False
        """Whether it has begun to answer."""
        self.failed = ""
        """The HTTP client's name for what it could not do."""

    def saw(self, event: str, method: bytes = b"") -> None:
        """What the HTTP client does; `method`: of the request that it is about."""
        if event.endswith(".failed"):
            self.failed = self.failed or event
        elif event.endswith(".send_request_headers.started") and method != b"CONNECT":
            self.sent = True
        elif event.endswith(".receive_response_headers.complete") and self.sent:
            self.heard = True

    @property
    def proxys(self) -> str:
        """The proxy, as its user knows it."""
        return f"the proxy of {self.proxy.variable}" if self.proxy else ""

    @property
    def doubt(self) -> str:
        """What may be wrong when what comes is no HTTP, or nothing."""
        if self.proxy:
            other = "an HTTP one (http://)" if self.proxy.url.startswith("socks") else "a SOCKS one (socks5h://)"
            return f"; is {self.proxys} {other}?"
        return "; is it https://?" if self.url.startswith("http:") else ""


def in_our_words(error: Exception, way: Way) -> ProviderError:
    """What has stopped a request, in words that no server wrote."""
    name = type(error).__name__
    match error:
        case httpx2.ProxyError():
            return ProviderError(ErrorKind.UNREACHABLE, f"{name}: {way.proxys} did not let it through")
        case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.UnsupportedProtocol():
            at_proxy = way.proxys if way.failed.endswith(TO_THE_PROXY) else ""
            return ProviderError(ErrorKind.UNREACHABLE, ": ".join(filter(None, (name, at_proxy, _why(error)))))
        case UnicodeError() | httpx2.InvalidURL():
            return ProviderError(ErrorKind.MISCONFIGURED, "base_url can't be asked")
        case OverflowError() | TypeError() | ValueError() if not way.sent:
            return ProviderError(
                ErrorKind.MISCONFIGURED, f"no request can be made ({name}): see the table's values, and the proxy's"
            )
        case _ if not way.sent:
            return ProviderError(ErrorKind.UNREACHABLE, f"{name} on the way to it{way.doubt}")
        case httpx2.TimeoutException():
            return ProviderError(ErrorKind.TIMEOUT, name)
        case httpx2.RemoteProtocolError() if not way.heard and error.__cause__ and "illegal" in str(error):
            kind = ErrorKind.UNREACHABLE if way.proxy else ErrorKind.BROKEN_STREAM
            return ProviderError(kind, f"{name}: what came is no HTTP{way.doubt}")
        case httpx2.HTTPError() if not way.heard:
            return ProviderError(ErrorKind.BROKEN_STREAM, f"{name} before any answer{way.doubt}")
    # What remains is a server that does not speak the protocol.
    return ProviderError(ErrorKind.BROKEN_STREAM, name)


def _why(error: BaseException | None) -> str:
    """Why there is no connection."""
    while error is not None:
        match error:
            case ssl.SSLCertVerificationError():
                remedy = (
                    "; SSL_CERT_FILE says whom to trust (docs/models.md)" if error.verify_code in UNTRUSTED else ""
                )
                return f"the certificate is not trusted, {error.verify_message}{remedy}"
            case ssl.SSLError() if error.reason in NO_TLS:
                return "there is no TLS there; is it http://?"
            case ssl.SSLError() if error.reason:
                return f"TLS failed, {error.reason.replace('_', ' ').lower()}"
            case socket.gaierror():
                return "its name is not known"
            case ConnectionRefusedError():
                return "nobody listens there"
            case ConnectionResetError():
                return "it cuts the connection"
        error = error.__cause__ or error.__context__
    return ""
