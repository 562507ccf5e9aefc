"""One reading of a Redis server's URL, in the spellings of the two libraries that connect to it.

redis-py and kombu read the same URL differently: kombu does not verify a `rediss://` server unless it is told to, has
another name for a Unix socket, and drops that one's password. So a URL is read here, once, and written for each.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

SCHEMES = ("redis", "rediss", "unix", "redis+socket")
"""TCP, TLS, and the two names of a Unix socket."""
PORT = 6379
TLS_OPTIONS = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_data",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_ciphers",
        "ssl_keyfile",
        "ssl_password",
    }
)
"""What a URL may say about TLS, in redis-py's names: all that both libraries understand."""
OTHER_OPTIONS = frozenset(
    {
        "client_name",
        "health_check_interval",
        "max_connections",
        "protocol",
        "retry_on_timeout",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_read_size",
        "socket_timeout",
        "timeout",
    }
)
"""What redis-py reads from a URL beside that. It is left out: the deadlines of every wait are in the code."""
_VERIFICATION = {"none": "none", "optional": "optional", "required": "required"}
_NO = ("0", "f", "false", "n", "no")


@dataclass(frozen=True)
class RedisServer:
    """Where a server is, as which user it is asked, and how it proves itself."""

    host: str = "127.0.0.1"
    port: int = PORT
    socket: str | None = None
    """The path of its Unix socket, instead of host and port."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    """The TLS options, or None without TLS."""

    @classmethod
    def parse(cls, url: str) -> "RedisServer":
        """Read `url`. Raises ValueError with the part that is wrong, and never with a password."""
        parts = _split(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        local = parts.scheme in ("unix", "redis+socket")
        _refuse_unknown(options, tls=parts.scheme == "rediss", local=local)
        username = unquote(parts.username or "") or options.get("username") or None
        password = unquote(parts.password or "") or options.get("password") or None
        path = unquote(parts.path)
        db = options.get("db") or options.get("virtual_host") or ("" if local else path.strip("/"))
        if local:
            if parts.hostname or len(path) < 2:
                raise ValueError("a Unix socket's path begins with a third slash: unix:///run/redis.sock?db=0")
            return cls(socket=path, username=username, password=password, db=_number(db))
        return cls(
            host=unquote(parts.hostname or "") or cls.host,
            port=_port(parts),
            username=username,
            password=password,
            db=_number(db),
            tls=_tls(options) if parts.scheme == "rediss" else None,
        )

    @property
    def redis_url(self) -> str:
        """The URL for redis-py."""
        if self.socket is not None:
            return f"unix://{self._credentials}{quote(self.socket)}?db={self.db}"
        return self._tcp_url(self.tls or ())

    @property
    def broker_url(self) -> str:
        """The URL for kombu, which verifies a server by TLS only if it is told to."""
        if self.socket is not None:
            return f"redis+socket://{self._credentials}{quote(self.socket)}?virtual_host={self.db}"
        return self._tcp_url(() if self.tls is None else {"ssl_cert_reqs": "required", **dict(self.tls)}.items())

    def _tcp_url(self, tls: Iterable[tuple[str, str]]) -> str:
        scheme = "redis" if self.tls is None else "rediss"
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        query = urlencode(list(tls))
        return f"{scheme}://{self._credentials}{host}:{self.port}/{self.db}" + (f"?{query}" if query else "")

    @property
    def _credentials(self) -> str:
        if self.username is None and self.password is None:
            return ""
        # kombu splits a list of servers at semicolons: nothing is left unquoted.
        password = "" if self.password is None else f":{quote(self.password, safe='')}"
        return f"{quote(self.username or '', safe='')}{password}@"


def is_redis(url: str) -> bool:
    """Whether the URL is one of a Redis server, and not of another broker."""
    return url.partition("://")[0] in SCHEMES


def socket_url(path: str) -> str:
    """The URL of a Unix socket, whatever characters its path has."""
    return f"unix://{quote(path)}?db=0"


def _split(url: str) -> SplitResult:
    if not is_redis(url):
        raise ValueError("it begins with none of " + ", ".join(f"{scheme}://" for scheme in SCHEMES))
    try:
        parts = urlsplit(url)
    except ValueError:  # whose message quotes the URL
        raise ValueError("it can't be taken apart; is an IPv6 address without its brackets?") from None
    if "#" in url:
        raise ValueError("it has a # in it, which is written %23 in a URL")
    return parts


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or PORT
    except ValueError:  # whose message quotes what stands there: perhaps a password with a slash
        raise ValueError(
            "the port is not a number up to 65535; in a password / is written %2F, ? %3F, # %23, @ %40"
        ) from None


def _number(db: str) -> int:
    if not re.fullmatch(r"\d{0,9}", db, re.ASCII):
        raise ValueError("the database (db) is not a number")
    return int(db or 0)


def _refuse_unknown(options: dict[str, str], *, tls: bool, local: bool) -> None:
    known = {"db", "username", "password", *OTHER_OPTIONS, *(TLS_OPTIONS if tls else ())}
    known |= {"virtual_host"} if local else set()
    for name in options:
        if name in TLS_OPTIONS and not tls:
            raise ValueError(f"{name} is for rediss://")
        if name not in known:
            raise ValueError("it has an option that is not known; there are " + ", ".join(sorted(known)))


def _tls(options: dict[str, str]) -> tuple[tuple[str, str], ...]:
    chosen = {name: value for name, value in options.items() if name in TLS_OPTIONS and value}
    if "ssl_cert_reqs" in chosen:
        wanted = chosen["ssl_cert_reqs"].lower().removeprefix("cert_")
        if wanted not in _VERIFICATION:
            raise ValueError(f"ssl_cert_reqs is none of {', '.join(_VERIFICATION)}")
        chosen["ssl_cert_reqs"] = wanted
    if "ssl_check_hostname" in chosen:
        chosen["ssl_check_hostname"] = "false" if chosen["ssl_check_hostname"].lower() in _NO else "true"
    return tuple(chosen.items())
