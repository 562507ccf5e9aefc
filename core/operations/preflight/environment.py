"""The settings as operators write them, in the environment and in `.env`, and what may be wrong with them."""

import io
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dotenv.parser import Binding, parse_stream
from pydantic import AliasChoices, ValidationError
from pydantic_settings import SettingsError

from core.operations.preflight.mistake import Misconfigured, Mistake
from core.settings import Settings
from core.text.characters import one_line
from core.text.duration import UnitMissing, shortest_form, with_probable_unit
from core.text.masking import MASK, masked, without_secrets
from core.text.secret_files import UnreadableSecret, read_secret_file, secrets_directory

PREFIX = "SWITCHBOARD_"
SIMILARITY_CUTOFF = 0.6
"""Of difflib's likeness, from 0 to 1, without the prefix: two or three slips."""
ONE_SLIP_CUTOFF = 0.85
"""The same, of a name that nothing marks as ours."""

MAX_SHOWN = 200
"""Characters of a value that are repeated."""

# What Kubernetes puts into the environment of a pod for a service of the name `switchboard` or `switchboard-...`.
_KUBERNETES = re.compile(r"_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")
_KUBERNETES_ADDRESS = re.compile(r"(tcp|udp|sctp)://[^/]+")


def read_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings of the environment and `.env`; `overrides`, by field name, come before both.

    Raises Misconfigured.
    """
    file = Settings.model_config.get("env_file")
    written = read_dotenv(Path(str(file))) if file else {}
    _require_secrets(secrets_directory(os.environ) or secrets_directory(written))
    try:
        settings = Settings(**(overrides or {}))
    except ValidationError as error:
        raise Misconfigured(_complaint(error)) from None
    except SettingsError as error:  # of a value that is no JSON, where that is wanted; its words have no value
        raise Misconfigured(one_line(str(error))) from None
    known = option_names()
    if unknown := [*unknown_options({**written, **os.environ}, known), *misspelt_options(written, os.environ, known)]:
        raise Misconfigured(_together(unknown))
    return settings


def settings_of_process() -> Settings:
    """The settings, for a process that can't run without them.

    Raises SystemExit with the line that says what is wrong: Celery and gunicorn, which import what asks for the
    settings, show a traceback for everything else.
    """
    try:
        return read_settings()
    except Misconfigured as error:
        raise SystemExit(f"switchboard: {error}") from None


def read_dotenv(path: Path) -> dict[str, str]:
    """What the file sets; nothing when there is none. Raises Misconfigured with the file and the line."""
    try:
        if path.is_symlink() and not path.exists():
            target = path.readlink()
            raise Misconfigured(f"{path}: leads to {target}, which is not there; mount it, or remove the link")
        if path.is_dir():
            raise Misconfigured(f"{path}: is a directory; put the options into a file, or call it something else")
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
    except OSError as error:
        raise Misconfigured(f"{path}: can't be read: {error.strerror}; let this user read it") from None
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path}: is no UTF-8 at byte {error.start}; save it as UTF-8") from None
    bindings = list(parse_stream(io.StringIO(text)))
    if wrong := [*_unreadable_lines(path, bindings)]:
        raise Misconfigured(_together(wrong))
    return {binding.key: binding.value or "" for binding in bindings if binding.key is not None}


def _require_secrets(directory: Path | None) -> None:
    """Raise Misconfigured for a file of an option's name that holds no value, or of a name that looks like one."""
    if directory is None or not directory.is_dir():
        return  # which the option's own check says
    try:
        found = sorted(directory.iterdir())
    except OSError as error:
        raise Misconfigured(f"{directory}: can't be read: {error.strerror}; let this user read it") from None
    if unknown := unknown_options({path.name: "" for path in found}, option_names()):
        raise Misconfigured(_together(replace(each, setting=f"{directory / each.setting}") for each in unknown))
    for path in found:
        if path.name.upper() not in option_names():
            continue
        try:
            read_secret_file(path)
        except UnreadableSecret as error:
            raise Misconfigured(f"{error}; let it hold the option's value alone, and this user read it") from None


def _unreadable_lines(path: Path, bindings: Iterable[Binding]) -> Iterator[Mistake]:
    for binding in bindings:
        # The lines before it are part of what was read, when they are empty. They may hold a secret: none is shown.
        skipped = len(binding.original.string) - len(binding.original.string.lstrip())
        line = binding.original.line + binding.original.string[:skipped].count("\n")
        without_value = binding.value is None and str(binding.key).upper() in option_names()
        if binding.error or without_value:
            yield Mistake(f"{path}:{line}", "it can't be read", "write NAME=value, with spaces in quotes")


def unknown_options(environment: Mapping[str, str], known: Collection[str]) -> list[Mistake]:
    """Variables that look like options and are none, each with the one that was probably meant."""
    without_prefix = {name.removeprefix(PREFIX): name for name in known}
    found = []
    for name in sorted(environment):
        rest = name.upper().removeprefix(PREFIX)
        if rest == name.upper() or name.upper() in known or _is_of_kubernetes(rest, environment[name]):
            continue
        near = get_close_matches(rest, without_prefix, n=1, cutoff=SIMILARITY_CUTOFF)
        right = (
            f"did you mean {without_prefix[near[0]]}?" if near else "leave it out; docs/operations.md lists them all"
        )
        found.append(Mistake(name, "there is no such option", right))
    return found


def misspelt_options(
    written: Mapping[str, str], environment: Mapping[str, str], known: Collection[str]
) -> list[Mistake]:
    """Names in `.env` that are nearly those of options which have no prefix, such as DATABASE_ULR, where the option
    itself is set nowhere: else, and in the environment, it may well be another program's."""
    present = {name.upper() for name in (*written, *environment)}
    missing = [name for name in known if not name.startswith(PREFIX) and name not in present]
    found = []
    for name in sorted(written):
        if name.upper().startswith(PREFIX) or name.upper() in known:
            continue
        if near := get_close_matches(name.upper(), missing, n=1, cutoff=ONE_SLIP_CUTOFF):
            found.append(Mistake(name, "there is no such option", f"did you mean {near[0]}?"))
    return found


def _is_of_kubernetes(rest: str, value: str) -> bool:
    found = _KUBERNETES.search(f"_{rest}")
    address = f"_{rest}".endswith("_PORT") and _KUBERNETES_ADDRESS.fullmatch(value)
    return bool((found and found.end() == len(rest) + 1) or address)


def option_names() -> set[str]:
    """The environment variables that are options."""
    return {variable_of(name) for name in Settings.model_fields}


def variable_of(option: str) -> str:
    """The environment variable that sets an option of Settings, given by its field name or its alias."""
    for name, field in Settings.model_fields.items():
        names = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else []
        if option in (name, *names):
            return str(names[0]) if names else name.upper()
    return option


def _complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    value, variable = str(first["input"]), variable_of(str(first["loc"][0]))
    reason = without_secrets(first["msg"].removeprefix("Value error, "), value)
    if isinstance(first.get("ctx", {}).get("error"), UnitMissing):
        default = _default_of(variable)
        probable = with_probable_unit(value, default)
        reason = f"it has no unit; write {probable}, if that is meant (the default is {shortest_form(default)})"
    return f"{variable}={_shown(value)}: {one_line(reason)}"


def _shown(value: str) -> str:
    """Without a secret, also where a URL's scheme is missing; on one line that is not too long."""
    shown = masked(value) if "://" in value else f"{MASK}@{value.rpartition('@')[2]}" if "@" in value else value
    return one_line(shown)[:MAX_SHOWN]


def _default_of(variable: str) -> timedelta:
    (default,) = (field.default for name, field in Settings.model_fields.items() if variable_of(name) == variable)
    assert isinstance(default, timedelta)
    return default


def _together(mistakes: Iterable[Mistake]) -> str:
    return "; ".join(map(str, mistakes))
