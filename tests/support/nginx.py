"""A real nginx in a directory of its own, in front of a web process."""

import os
import shutil
import subprocess
from pathlib import Path

MISSING = "nginx is missing: apt-get install nginx-light"
MAIN = """
{user}
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log info;
events {{ worker_connections 500; }}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {servers}
}}
"""


def find_nginx() -> str | None:
    """Its path, or None. Debian keeps it where only root looks."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Nginx:
    """The process. Its master stays in the foreground, so that it can't be left behind."""

    def __init__(self, directory: Path, servers: str) -> None:
        """`servers` is what stands in the `http` block."""
        directory.mkdir()
        self._log = directory / "error.log"
        # Workers of root would become nobody, who may not write here.
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = directory / "nginx.conf"
        configuration.write_text(MAIN.format(user=user, directory=directory, servers=servers))
        binary = find_nginx()
        assert binary is not None, MISSING
        arguments = [binary, "-p", str(directory), "-c", str(configuration), "-e", str(self._log)]
        tested = subprocess.run([*arguments, "-t"], capture_output=True, text=True, timeout=20, check=False)
        assert tested.returncode == 0, tested.stderr
        # It warns of what it will not understand in its next versions.
        assert "[warn]" not in tested.stderr, tested.stderr
        self._process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)

    @property
    def log(self) -> str:
        """What it has written."""
        return self._log.read_text()

    def stop(self) -> None:
        """Stop it at once."""
        self._process.terminate()
        self._process.wait(10)
