"""What operators get wrong in the environment and in `.env`, and the one line that they are told."""

from datetime import timedelta
from pathlib import Path

import pytest

from core.operations.preflight.environment import (
    option_names,
    read_dotenv,
    read_settings,
    settings_of_process,
    unknown_options,
)
from core.operations.preflight.mistake import Misconfigured
from core.settings import Settings
from core.text.duration import shortest_form, with_probable_unit


def _complaint(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured) as raised:
        read_settings()
    line = str(raised.value)
    assert "hunter2" not in line
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("REDIS_URL", "localhost:6379", "REDIS_URL=localhost:6379: it begins with none of redis://, rediss://"),
        ("REDIS_URL", ":hunter2@cache:6379", "REDIS_URL=***@cache:6379: it begins with none of redis://"),
        ("REDIS_URL", "http://cache:6379", "REDIS_URL=http://cache:6379: it begins with none of redis://"),
        ("REDIS_URL", "redis://:hun/ter2@cache", "REDIS_URL=redis://:***@cache: the port is not a number"),
        (
            "BROKER_URL",
            "queue:5672",
            "BROKER_URL=queue:5672: it has no scheme; write redis://host:6379/0, or amqp://",
        ),
        ("DATABASE_URL", "u:hunter2@db/chat", "DATABASE_URL=***@db/chat: it is none of postgresql://"),
        (
            "DATABASE_URL",
            "mysql://u:hunter2@db/chat",
            "DATABASE_URL=mysql://u:***@db/chat: it is none of postgresql:",
        ),
        (
            "DATABASE_URL",
            "postgresql+asyncpg://db/chat",
            "the driver 'asyncpg' is not used here; write postgresql+",
        ),
        ("DATABASE_URL", "postgresql://u:hunter2@db:54x/chat", "it can't be taken apart; is the port a number"),
        ("DATABASE_URL", "postgresql://u@one:5432,two:5432/chat", "hosts are written ?host=one:5432&host=two:5432"),
        ("DATABASE_URL", "postgresql://u@db/chat?pooler=session", "its pooler is not `transaction`; leave that out"),
        ("SWITCHBOARD_ANONYMOUS_IDLE", "45", "SWITCHBOARD_ANONYMOUS_IDLE=45: it has no unit; write 45m, if that is"),
        ("SWITCHBOARD_ANONYMOUS_IDLE", "1800", "it has no unit; write 1800s, if that is meant (the default is 30m)"),
        ("SWITCHBOARD_USER_MAX", "60", "it has no unit; write 60d, if that is meant (the default is 90d)"),
        ("SWITCHBOARD_LEASE", "10\n\x1b[31mred", "SWITCHBOARD_LEASE=10"),
        ("SWITCHBOARD_LEASE", "9" * 9000 + "d", "is longer than ten years"),
        ("SWITCHBOARD_USER_MAX", "9999999d", "is longer than ten years; write 3650d at the most"),
        ("SWITCHBOARD_LEASE", "1ms", "greater than or equal to 1 second"),
        ("SWITCHBOARD_REPLY_WAIT", "100d", "less than or equal to 1 minute"),
        ("PORT", "tcp://10.0.0.1:8000", "PORT=tcp://10.0.0.1:8000: Input should be a valid integer"),
        (
            "SWITCHBOARD_LIMIT_CRATE",
            "off",
            "SWITCHBOARD_LIMIT_CRATE: there is no such option; did you mean SWITCHBOARD_",
        ),
    ],
)
def test_a_mistake_is_one_line(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, line: str) -> None:
    complaint = _complaint(monkeypatch, **{variable: value})
    assert line in complaint
    assert complaint.startswith(variable)
    with pytest.raises(SystemExit) as ended:
        settings_of_process()
    assert ended.value.code == f"switchboard: {complaint}"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SWITCHBOARD_ANONYMOUS_IDEL", "SWITCHBOARD_ANONYMOUS_IDLE"),
        ("switchboard_hots", "SWITCHBOARD_HOSTS"),
        ("SWITCHBOARD_PORT", "PORT"),
        ("SWITCHBOARD_REDIS_URL", "REDIS_URL"),
        ("SWITCHBOARD_MODLES", "SWITCHBOARD_MODELS"),
        ("SWITCHBOARD_XYZZY", None),
    ],
)
def test_what_is_no_option_is_named(name: str, meant: str | None) -> None:
    (mistake,) = unknown_options({name: "1", "PATH": "/bin", "SWITCHBOARDING": "fun"}, option_names())
    assert mistake.setting == name
    assert mistake.right == (f"did you mean {meant}?" if meant else "leave it out; docs/operations.md lists them all")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DATABASE_ULR", "DATABASE_URL"),
        ("REDIS_URI", "REDIS_URL"),
        ("BROKERURL", "BROKER_URL"),
        ("FLOWER_BASICAUTH", "FLOWER_BASIC_AUTH"),
        ("ports", "PORT"),
    ],
)
def test_a_slip_in_a_name_without_the_prefix_is_named_where_it_is_in_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, meant: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    for option in option_names():
        monkeypatch.delenv(option, raising=False)
    Path(".env").write_text(f"{name}=postgresql://u:hunter2@db/chat\nPOSTGRES_PASSWORD=x\nHTTP_PROXY=http://p\n")
    assert _complaint(monkeypatch) == f"{name}: there is no such option; did you mean {meant}?"
    with Path(".env").open("a") as file:  # then the other is another program's
        file.write(f"{meant}={'8001' if meant == 'PORT' else ''}\n")
    read_settings()


def test_what_is_an_option_or_from_kubernetes_is_not() -> None:
    kubernetes = {
        "SWITCHBOARD_SERVICE_HOST": "10.0.0.1",
        "SWITCHBOARD_SERVICE_PORT_HTTP": "8000",
        "SWITCHBOARD_PORT": "tcp://10.0.0.1:8000",
        "SWITCHBOARD_PORT_8000_TCP_ADDR": "10.0.0.1",
        "SWITCHBOARD_WEB_SERVICE_PORT": "8000",
        "SWITCHBOARD_WEB_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "SWITCHBOARD_WEB_PORT": "tcp://10.0.0.1:8000",
    }
    own = {**dict.fromkeys(option_names(), "1"), "switchboard_host": "localhost"}
    assert unknown_options({**kubernetes, **own}, option_names()) == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"PORT=1\n\n# so\nSWITCHBOARD_HOST 0.0.0.0 hunter2\n", ".env:4: it can't be read; write NAME=value"),
        (b"A=1\n\nSWITCHBOARD_MODEL_KEY\n", ".env:3: it can't be read"),
        (b"REDIS_URL='redis://:hunter2@cache\n", ".env:1: it can't be read"),
        (b"SWITCHBOARD_HOST=\xff\xfe\n", ".env: is no UTF-8 at byte 17"),
    ],
)
def test_a_line_of_a_file_that_can_not_be_read_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / ".env"
    path.write_bytes(content)
    with pytest.raises(Misconfigured) as raised:
        read_dotenv(path)
    assert complaint in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_file_that_is_not_mounted_is_no_file_without_options(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.symlink_to(tmp_path / "mounted.env")
    with pytest.raises(Misconfigured) as raised:
        read_dotenv(path)
    assert str(raised.value).startswith(f"{path}: leads to {tmp_path / 'mounted.env'}, which is not there; ")
    path.unlink()
    path.mkdir()
    with pytest.raises(Misconfigured, match="is a directory"):
        read_dotenv(path)
    path.rmdir()
    assert read_dotenv(path) == {}


def test_a_file_that_can_be_read_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".env"
    assert read_dotenv(path) == {}
    path.write_text('# mine\nexport PORT=81\nSWITCHBOARD_HOST="::1" # v6\n\nEMPTY=\nKEY="two\nlines"\nPASSED_ON\n')
    assert read_dotenv(path) == {
        "PASSED_ON": "",
        "PORT": "81",
        "SWITCHBOARD_HOST": "::1",
        "EMPTY": "",
        "KEY": "two\nlines",
    }
    path.write_text("SWITCHBOARD_HOTS=a\n")
    monkeypatch.setitem(Settings.model_config, "env_file", str(path))
    assert "did you mean SWITCHBOARD_HOSTS?" in _complaint(monkeypatch)


@pytest.mark.parametrize(
    ("number", "usual", "probable"),
    [("45", "30m", "45m"), ("10", "10s", "10s"), ("7", "14d", "7d"), ("500", "2s", "500ms"), ("24", "24h", "24h")],
)
def test_the_unit_is_guessed_by_what_is_usual(number: str, usual: str, probable: str) -> None:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    duration = timedelta(seconds=int(usual[:-1]) * units[usual[-1]])
    assert with_probable_unit(number, duration) == probable
    assert shortest_form(duration) in (usual, "1d")
