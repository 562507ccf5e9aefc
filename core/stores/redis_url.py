"""One reading of a Redis server's URL, in the spellings of the two libraries that connect to it.

redis-py and kombu read the same URL differently: kombu does not verify a `rediss://` server unless it is told to, has
another name for a Unix socket, and drops that one's password. So a URL is read here, once, and written for each.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

SENTINEL_SCHEMES = ("sentinel", "sentinels")
"""Redis Sentinel over TCP and over TLS."""
SCHEMES = ("redis", "rediss", "unix", "redis+socket", *SENTINEL_SCHEMES)
"""TCP, TLS, the two names of a Unix socket, and Sentinel."""
PORT = 6379
SENTINEL_PORT = 26379
SENTINEL_OPTIONS = frozenset({"others", "sentinel_username", "sentinel_password"})
"""`others`: the sentinels beside the first, where a library can't read a list of hosts."""
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
    """A server's address, the user to authenticate as, and what TLS verifies."""

    host: str = "127.0.0.1"
    port: int = PORT
    socket: str | None = None
    """The path of its Unix socket, instead of host and port."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    """The TLS options, or None without TLS."""
    sentinels: tuple[tuple[str, int], ...] = ()
    """The hosts and ports to ask where `master` is, instead of host and port."""
    master: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> "RedisServer":
        """Read `url`. Raises ValueError with the part that is wrong, and never with a password."""
        parts = _split(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        local = parts.scheme in ("unix", "redis+socket")
        sentinel = parts.scheme in SENTINEL_SCHEMES
        secure = parts.scheme in ("rediss", "sentinels")
        _refuse_unknown(options, tls=secure, local=local, sentinel=sentinel)
        username = unquote(parts.username or "") or options.get("username") or None
        password = unquote(parts.password or "") or options.get("password") or None
        path = unquote(parts.path)
        db = options.get("db") or options.get("virtual_host") or ("" if local or sentinel else path.strip("/"))
        if local:
            if parts.hostname or len(path) < 2:
                raise ValueError("a Unix socket's path begins with a third slash: unix:///run/redis.sock?db=0")
            return cls(socket=path, username=username, password=password, db=_number(db))
        tls = _tls(options) if secure else None
        if sentinel:
            return cls(
                username=username,
                password=password,
                db=_number(db),
                tls=tls,
                sentinels=_sentinels(parts, options.get("others", "")),
                master=_master(path),
                sentinel_username=options.get("sentinel_username") or None,
                sentinel_password=options.get("sentinel_password") or None,
            )
        return cls(
            host=unquote(parts.hostname or "") or cls.host,
            port=_port(parts),
            username=username,
            password=password,
            db=_number(db),
            tls=tls,
        )

    @property
    def tls_options(self) -> dict[str, Any]:
        """The TLS options, as redis-py's connections take them."""
        return {name: value == "true" if name == "ssl_check_hostname" else value for name, value in self.tls or ()}

    @property
    def redis_url(self) -> str:
        """The URL for redis-py, or for core/stores/sentinel.py."""
        if self.sentinels:
            return self._sentinel_url
        if self.socket is not None:
            return f"unix://{self._credentials}{quote(self.socket)}?db={self.db}"
        return self._tcp_url(self.tls or ())

    @property
    def broker_url(self) -> str:
        """The URL for kombu, which verifies a server by TLS only if it is told to."""
        if self.sentinels:
            return self._sentinel_url
        if self.socket is not None:
            return f"redis+socket://{self._credentials}{quote(self.socket)}?virtual_host={self.db}"
        return self._tcp_url(() if self.tls is None else {"ssl_cert_reqs": "required", **dict(self.tls)}.items())

    def _tcp_url(self, tls: Iterable[tuple[str, str]]) -> str:
        scheme = "redis" if self.tls is None else "rediss"
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        query = urlencode(list(tls))
        return f"{scheme}://{self._credentials}{host}:{self.port}/{self.db}" + (f"?{query}" if query else "")

    @property
    def _sentinel_url(self) -> str:
        first, *others = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.sentinels)
        options = {
            "db": str(self.db),
            "others": ",".join(others),
            "sentinel_username": self.sentinel_username,
            "sentinel_password": self.sentinel_password,
            **dict(self.tls or ()),
        }
        query = urlencode({name: value for name, value in options.items() if value}, safe=":,[]")
        scheme = SENTINEL_SCHEMES[self.tls is not None]
        return f"{scheme}://{self._credentials}{first}/{quote(self.master, safe='')}?{query}"

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


def is_sentinel(url: str) -> bool:
    """Whether the URL is one of Redis Sentinel."""
    return url.partition("://")[0] in SENTINEL_SCHEMES


def socket_url(path: str) -> str:
    """The URL of a Unix socket, whatever characters its path has."""
    return f"unix://{quote(path)}?db=0"


def _split(url: str) -> SplitResult:
    if url.partition("://")[0] in ("redis+cluster", "rediss+cluster", "redis-cluster"):
        raise ValueError("Redis Cluster is not supported; name one server, or Sentinel: sentinel://HOST:26379/MASTER")
    if not is_redis(url):
        raise ValueError("it begins with none of " + ", ".join(f"{scheme}://" for scheme in SCHEMES))
    try:
        parts = urlsplit(url)
    except ValueError:  # whose message quotes the URL
        raise ValueError("it can't be taken apart; is an IPv6 address without its brackets?") from None
    if "#" in url:
        raise ValueError("it has a # in it, which is written %23 in a URL")
    return parts


def _port(parts: SplitResult, default: int = PORT) -> int:
    try:
        return parts.port or default
    except ValueError:  # whose message quotes what stands there: perhaps a password with a slash
        raise ValueError(
            "the port is not a number up to 65535; in a password / is written %2F, ? %3F, # %23, @ %40"
        ) from None


def _sentinels(parts: SplitResult, others: str) -> tuple[tuple[str, int], ...]:
    hosts = parts.netloc.rpartition("@")[2] + (f",{others}" if others else "")
    found = [_split(f"sentinel://{host}") for host in hosts.split(",")]
    if not all(each.hostname for each in found):
        raise ValueError("a sentinel's host is missing: sentinel://one:26379,two:26379/MASTER")
    return tuple((unquote(each.hostname or ""), _port(each, SENTINEL_PORT)) for each in found)


def _master(path: str) -> str:
    name = path.strip("/")
    if not name or "/" in name:
        raise ValueError("it names no master: sentinel://one:26379,two:26379/MASTER")
    return name


def _number(db: str) -> int:
    if not re.fullmatch(r"\d{0,9}", db, re.ASCII):
        raise ValueError("the database (db) is not a number")
    return int(db or 0)


def _refuse_unknown(options: dict[str, str], *, tls: bool, local: bool, sentinel: bool) -> None:
    known = SENTINEL_OPTIONS if sentinel else set()
    known |= {"db", "username", "password", *OTHER_OPTIONS, *(TLS_OPTIONS if tls else ())}
    known |= {"virtual_host"} if local else set()
    for name in options:
        if name in TLS_OPTIONS and not tls:
            raise ValueError(f"{name} is for rediss:// and sentinels://")
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
