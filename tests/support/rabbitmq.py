"""A real RabbitMQ for tests, Debian's: a node on loopback ports, with all its files in a directory of its own."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import wait_for

PROGRAMS = Path("/usr/lib/rabbitmq/bin")
USER, PASSWORD = "guest", "guest"
FRUGAL = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
"""One scheduler, which does not spin while it waits: the machine is the tests' as well."""
NET_TICKTIME = 5
"""Seconds after which a node takes another for lost that says nothing; up to a quarter more or less."""


class RabbitMQ:
    """The node. Others join it with `cluster`."""

    def __init__(
        self, *, address: str = "127.0.0.1", first: "RabbitMQ | None" = None, within: Sequence[str] = ()
    ) -> None:
        """`first`: a node whose cluster it joins. `within`: a command that runs others somewhere else, such as in a
        network namespace, where its `address` is."""
        if not PROGRAMS.exists():
            pytest.skip("RabbitMQ is not installed: apt-get install rabbitmq-server")
        self.address, self.within = address, within
        self.directory = Path(tempfile.mkdtemp(prefix="sb-mq-"))
        self.port, self.management_port, distribution, self._epmd = free_ports(4)
        self.name = f"sb{secrets.token_hex(4)}@{address if within else 'localhost'}"
        if first is not None:
            self._epmd = first._epmd
        self.url = f"amqp://{USER}:{PASSWORD}@{address}:{self.port}//"
        self._write_configuration(first)
        self._environment = {
            **os.environ,
            "HOME": str(first.directory if first else self.directory),  # where Erlang's cookie is
            "ERL_EPMD_ADDRESS": address,
            "ERL_EPMD_PORT": str(self._epmd),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": FRUGAL,
            "RABBITMQ_USE_LONGNAME": "true" if within else "false",
        }
        self._epmd_process = (
            subprocess.Popen(
                [*within, "epmd", "-port", str(self._epmd), "-address", address], stderr=subprocess.DEVNULL
            )
            if first is None or within
            else None
        )
        self._process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with (self.directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [*self.within, str(PROGRAMS / "rabbitmq-server")], env=self._environment, stdout=output, stderr=output
            )
        wait_for(self._answers, seconds=60, what=f"RabbitMQ answers, see {self.directory / 'output'}")

    def stop(self) -> None:
        """Stop it as an operator would."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)

    def kill(self) -> None:
        """End it as the kernel would when memory runs out."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(10)

    def freeze(self) -> None:
        """Let it hold its connections and answer nothing. The kernel still acknowledges what is sent to it."""
        for process in self._processes():
            process.suspend()

    def thaw(self) -> None:
        """Let a frozen one go on."""
        for process in self._processes():
            process.resume()

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints."""
        command = [*self.within, str(PROGRAMS / "rabbitmqctl"), "--quiet", *arguments]
        return subprocess.run(command, env=self._environment, check=True, capture_output=True, text=True).stdout

    @contextmanager
    def short_of_memory(self) -> Iterator[None]:
        """Let it take no messages, as it does to protect its memory."""
        self.control("set_vm_memory_high_watermark", "0.000001")
        try:
            yield
        finally:
            self.control("set_vm_memory_high_watermark", "0.4")

    @contextmanager
    def refusing(self, refuse: Sequence[str], admit: Sequence[str]) -> Iterator[None]:
        """Refuse everybody after one `rabbitmqctl` command, and admit them again after another; nobody stays
        connected."""
        self.control(*refuse)
        self.control("close_all_connections", "refused")
        try:
            yield
        finally:
            self.control(*admit)

    def running(self) -> int:
        """Nodes of the cluster that run, as this one sees it."""
        return len(json.loads(self.control("cluster_status", "--formatter", "json"))["running_nodes"])

    def close(self) -> None:
        """Leave nothing behind."""
        self.kill()
        if self._epmd_process is not None:
            self._epmd_process.kill()
            self._epmd_process.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _write_configuration(self, first: "RabbitMQ | None") -> None:
        lines = [
            f"listeners.tcp.1 = {self.address}:{self.port}",
            f"management.tcp.ip = {self.address}",
            f"management.tcp.port = {self.management_port}",
            "loopback_users = none",
            "disk_free_limit.absolute = 1MB",
            f"net_ticktime = {NET_TICKTIME}",
            "cluster_partition_handling = pause_minority",
            f"log.file = {self.directory / 'rabbitmq.log'}",
        ]
        if first is not None:
            lines += ["cluster_formation.peer_discovery_backend = classic_config"]
            lines += [
                f"cluster_formation.classic_config.nodes.{n} = {node}"
                for n, node in ((1, first.name), (2, self.name))
            ]
        (self.directory / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self.directory / "plugins").write_text("[rabbitmq_management].")

    def _processes(self) -> list[psutil.Process]:
        if self._process.poll() is not None:
            return []
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.directory / "output").read_text()[-2000:]
        command = [*self.within, "bash", "-c", f"echo >/dev/tcp/{self.address}/{self.port}"]
        return subprocess.run(command, capture_output=True).returncode == 0


def free_ports(count: int) -> list[int]:
    """Loopback ports that are free now."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [server.getsockname()[1] for server in servers]
    finally:
        for server in servers:
            server.close()
