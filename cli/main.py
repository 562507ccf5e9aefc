"""The `switchboard` command. What a command does is in the module of its name."""

import contextlib
import importlib.metadata
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from core.operations.usage import Grouping

CONTEXT = {"help_option_names": ["-h", "--help"]}
PASSED_ON = {"ignore_unknown_options": True}


class _Commands(click.Group):
    """Commands whose output may end on a full disk: one line says so."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run one. Output to a reader that has gone is click's own business."""
        try:
            return super().main(*args, **options)
        except OSError as error:
            if not _is_of_output(error):
                raise
            with contextlib.suppress(OSError):
                click.echo(f"switchboard: the output can't be written: {error.strerror}", err=True)
            sys.exit(1)


def _is_of_output(error: OSError) -> bool:
    """Whether it comes from what prints; a running process may meet the same at other files."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code is click.echo.__code__


@click.group(cls=_Commands, context_settings=CONTEXT)
@click.version_option(importlib.metadata.version("switchboard"), message="switchboard %(version)s")
def main() -> None:
    """A self-hosted chat-session backend for LLM web chat.

    Options come from the environment or from a .env file in the working directory; docs/operations.md lists
    them all. A command that can't go on says why in one line; its exit status is 1, and 2 for a wrong command line.
    """


@main.command("up")
@click.option("-v", "--verbose", is_flag=True, help="Show everything the processes write.")
def up_command(verbose: bool) -> None:
    """Start the whole system and keep it running.

    Without configuration that is SQLite, an embedded Valkey and a small local model, all in the state
    directory (.switchboard). DATABASE_URL, REDIS_URL and models.toml name real ones. Ctrl-C stops it.

    A setting that can't be read, or a store that can't be used, ends it with the line that says what would be right.
    """
    from cli.up import up

    up(verbose)


@main.command("migrate")
def migrate_command() -> None:
    """Bring the database to the newest revision.

    That of DATABASE_URL, or SQLite in the state directory. The version before runs on it, too. `up` does it by
    itself; elsewhere run it before the processes of a new version start.
    """
    from cli.configuration import read_settings
    from cli.migration import migrate_database
    from cli.supervision.state_directory import StateDirectory

    settings = read_settings()
    if settings.configured_database_url is None:
        StateDirectory(settings.state_dir).prepare()
    click.echo(f"database {migrate_database(settings.database_url)}")


@main.command("models")
@click.option("--check", is_flag=True, help="Also ask each model for an answer. Costs a few tokens.")
def models_command(check: bool) -> None:
    """Check models.toml and show what it means.

    With --check each model gets a real request, for an answer of one token. Below the table stand those that did
    not answer: why, in their providers' own words too, and what to do.
    """
    from cli.models import show_models

    show_models(check)


@main.command("audit")
@click.option("--since", metavar="AGE", help="Only what is younger than this: 24h, 7d.")
@click.option("--kind", help="Only events of this kind: login-failed, not-owner, ...")
@click.option("--user", metavar="USER", help="Only what this user did: an id or an e-mail address.")
@click.option("-n", "--limit", type=click.IntRange(1, 10**9), help="Only the newest so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def audit_command(since: str | None, kind: str | None, user: str | None, limit: int | None, as_json: bool) -> None:
    """Print the audit log, newest last."""
    from cli.audit import show_audit

    show_audit(since, kind, user, limit, as_json)


@main.command("usage")
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True, help="So many, today included.")
@click.option("--by", type=click.Choice(["day", "model", "user"]), default="day", show_default=True)
@click.option("--user", metavar="USER", help="Only of this user: an id or an e-mail address.")
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="So many rows.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def usage_command(days: int, by: "Grouping", user: str | None, limit: int, as_json: bool) -> None:
    """Print what users' answers have come to: answers, tokens, and money by the prices of models.toml.

    By day (UTC, the newest first), model or user (what cost most first). Of guests nothing is kept: /metrics has what
    all answers together come to.
    """
    from cli.usage import show_usage

    show_usage(days, by, user, limit, as_json)


@main.group("users")
def users_group() -> None:
    """List users, close accounts, and give users limits of their own.

    USER is an id or an e-mail address. What is changed is in the audit log.
    """


@users_group.command("list")
@click.option("--match", metavar="TEXT", help="Only those with this in their address.")
@click.option("--after", metavar="USER", help="The next page: those after this user.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="So many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def users_list_command(match: str | None, after: str | None, limit: int, as_json: bool) -> None:
    """Print users, the newest account first, with their sessions, and what they have used in 30 days."""
    from cli.users import list_users

    list_users(match, after, limit, as_json)


@users_group.command("close")
@click.argument("user")
@click.option("--yes", is_flag=True, help="Don't ask.")
def users_close_command(user: str, yes: bool) -> None:
    """Delete USER's account with all that hangs on it: sessions, words, usage, log-ins and API keys.

    Answers that are being written end. It can't be undone, and the person may register anew where registration is
    open.
    """
    from cli.users import close_user

    close_user(user, yes)


@users_group.command("limits")
@click.argument("user")
@click.option("--messages", metavar="RATE", help="Questions, such as 120/m, or off for any number.")
@click.option("--tokens", metavar="RATE", help="Tokens, such as 5000000/d.")
@click.option("--cost", metavar="BUDGET", help="Money in the currency of models.toml, such as 2.50/d or 20/30d:5.")
@click.option("--concurrent", metavar="COUNT", help="Answers at the same time.")
def users_limits_command(user: str, **changes: str | None) -> None:
    """Show USER's own limits or, with options, change them. They hold from the next question on.

    `default` takes one back: then the user has what the SWITCHBOARD_LIMIT_ options say for all.
    """
    from cli.users import change_limits

    change_limits(user, {policy: text for policy, text in changes.items() if text is not None})


@main.command("doctor")
@click.option("--stream", metavar="URL", help="Only see whether a proxy between here and that server gathers events.")
def doctor_command(stream: str | None) -> None:
    """Check every part of the system, and say what to do about those that fail.

    Run it beside a running `up`, or with the environment of the processes. It looks at the settings, the state
    directory, the ports, the models' servers, the stores and their clocks, the broker and who consumes its queues,
    the schedule, and the web server. Nothing is changed, and nothing asked that is paid. The exit status is 1 when a
    part fails.
    """
    if stream is not None:
        from cli.stream_check import check_stream

        check_stream(stream)
        return
    from cli.doctor import doctor

    doctor()


@main.command("alive")
@click.argument("kind", type=click.Choice(["worker", "chat", "beat"]))
@click.option("--pid", type=click.IntRange(min=1), help="Only the process with this id.")
def alive_command(kind: str, pid: int | None) -> None:
    """Check that the processes of a kind live, on this machine and state directory.

    A process lives while its loops turn: its consumer of the queues, its threads, the event loop of answers, beat's
    schedule. The broker and the stores are not asked, and one that is away makes nothing dead. For supervisors and
    kubelets: one line, and the exit status is 1 when none runs, or one that runs is stuck.
    """
    from cli.alive import check_alive

    check_alive(kind, pid)


@main.command("invariants")
def invariants_command() -> None:
    """Look for what must never be: lost answers, leaked leases, words kept too long.

    Reads only. The exit status is 1 when something is broken.
    """
    from cli.invariants import show_invariants

    show_invariants()


@main.command("worker", context_settings=PASSED_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def worker_command(arguments: tuple[str, ...]) -> None:
    """Run a worker, with the options of `celery worker`; `up` does this by itself."""
    from cli.celery_command import run_worker

    run_worker(arguments)


@main.command("beat", context_settings=PASSED_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def beat_command(arguments: tuple[str, ...]) -> None:
    """Send for what is due, with the options of `celery beat`; `up` does this by itself."""
    from cli.celery_command import run_beat

    run_beat(arguments)


@main.command("flower")
def flower_command() -> None:
    """Serve Flower, which shows tasks and workers; `up` does this by itself.

    Read-only, on FLOWER_PORT of the loopback interface, and for this machine's names and SWITCHBOARD_HOSTS alone.
    """
    from cli.configuration import read_settings
    from cli.imports import without

    with without("pygments"):  # in which Celery's commands colour what they print
        from cli.flower import serve

    serve(read_settings())


@main.command("model")
def model_command() -> None:
    """Serve the local model of models.toml; `up` does this by itself.

    At SWITCHBOARD_MODEL_URL, for those who show SWITCHBOARD_MODEL_KEY. Ends at once, with status 0, when no model of
    models.toml has weights.
    """
    from cli.configuration import read_catalog, read_settings
    from cli.model_server import serve

    settings = read_settings()
    serve(read_catalog(settings), settings.model_url, settings.model_key)
