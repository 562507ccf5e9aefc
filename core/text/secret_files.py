"""Secrets that a file holds instead of the environment: those of systemd, Docker and Kubernetes.

The file has the variable's name. The environment's own value comes first, where it is not empty.
"""

import os
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path

DIRECTORY_VARIABLES = ("SWITCHBOARD_SECRETS_DIR", "CREDENTIALS_DIRECTORY")
"""Which variables name the directory, the first that is set before the second, which is systemd's
(systemd.exec(5), LoadCredential=)."""
MAX_BYTES = 16_384
"""Of a secret. A bundle of certificates, which a setting names by its path, is longer."""


class UnreadableSecret(ValueError):
    """A file that can't be read, or holds no secret; the words name it, not what is in it."""


def secrets_directory(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The directory whose files are secrets, if one is named."""
    named = next((environment[name] for name in DIRECTORY_VARIABLES if environment.get(name)), None)
    return Path(named) if named is not None else None


def has_secret(name: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether there is a value that can be read."""
    try:
        return bool(read_secret(name, environment))
    except UnreadableSecret:
        return False


def read_secret(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """A variable's value, or its file's, without blanks around it; empty when there is neither.

    Raises UnreadableSecret.
    """
    value = environment.get(name, "").strip()
    directory = secrets_directory(environment)
    if value or directory is None or "/" in name:
        return value
    return read_secret_file(directory / name)


def read_secret_file(path: Path) -> str:
    """What the file holds, without blanks around it; empty when there is none. Raises UnreadableSecret."""
    if path.is_symlink() and not path.exists():
        raise UnreadableSecret(f"{path}: leads to {path.readlink()}, which is not there")
    if path.is_fifo() or path.is_socket():  # which would be waited for
        raise UnreadableSecret(f"{path} is no file")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UnreadableSecret(f"{path}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise UnreadableSecret(f"{path} has more than {MAX_BYTES} bytes")
    if content.startswith(BOM_UTF8):
        raise UnreadableSecret(f"{path} begins with a byte order mark, which can't be seen")
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise UnreadableSecret(f"{path} is not UTF-8 text") from None
