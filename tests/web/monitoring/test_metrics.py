"""What Prometheus reads, and what it reads when something is broken or away."""

import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, make_url, select, update
from uuid_utils.compat import uuid7

from core.llm.providers.base import ErrorKind, ProviderError
from core.messaging.consumers import Presence
from core.operations.check_results import KEY, RESULT_TTL
from core.operations.counters import Outcome
from core.operations.job_runs import JOBS
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from core.stores.redis import Redis
from core.stores.revisions import known_revisions
from core.stores.tables import Generation, GenerationState, Session
from tests.conftest import TurnableClock
from tests.core.stores.test_revisions import stamp
from tests.support.postgres import Postgres
from tests.support.runtime_of import runtime_of
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from web.app import create_app
from web.context import context_of

DEADLINE = 0.5
"""Seconds in which a scrape must be answered, whatever is away."""

Figures = dict[tuple[str, str], float]
"""By the metric's name and its label's value, which is empty where there is no label."""


@pytest.fixture
def runtime(settings: Settings, clock: TurnableClock) -> Iterator[Runtime]:
    """The parts of a web process whose clock the test turns. No worker runs."""
    parts = Runtime(settings, clock=clock)
    yield parts
    parts.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Runtime], FlaskClient]]:
    """Serves the application over the given parts, and gives a Prometheus beside it."""
    served: list[Flask] = []

    def make(runtime: Runtime) -> FlaskClient:
        served.append(create_app(runtime))
        return served[-1].test_client()

    yield make
    for app in served:
        context_of(app).hub.close()
        runtime_of(app).close()


Serve = Callable[[Runtime], FlaskClient]


@pytest.fixture
def check_invariants(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The workers' task, run here over the test's stores."""
    from workers import maintenance  # makes a worker's Celery application, which no other test here wants

    monkeypatch.setattr(maintenance, "runtime", runtime)
    monkeypatch.setattr("core.operations.invariants.SECOND_LOOK_DELAY", 0)
    return maintenance.check_invariants  # type: ignore[no-any-return]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that answers is not taken for one that is away, however busy the test's machine is."""
    monkeypatch.setattr("web.monitoring.metrics.DEADLINE", 10)


@pytest.fixture
def prometheus(runtime: Runtime, serve: Serve, patient: None) -> FlaskClient:
    """A scraper on the same machine."""
    return serve(runtime)


def _scrape(prometheus: FlaskClient) -> Figures:
    response = prometheus.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def _named(figures: Figures, name: str) -> dict[str, float]:
    return {value: number for (metric, value), number in figures.items() if metric == name}


def _asked(runtime: Runtime) -> UUID:
    credential = Credential.issue()
    with runtime.database.writing() as db:
        session = runtime.sessions.create_session(
            db, session_id=credential.session_id, secret_hash=credential.secret_hash, model="good"
        )
    return runtime.generations.accept(session, "Why is the sky blue?").generation_id


def _set(runtime: Runtime, generation_id: UUID, **values: object) -> None:
    with runtime.database.writing() as db:
        db.execute(update(Generation).where(Generation.id == generation_id).values(**values))


def test_it_is_the_text_format_with_a_meaning_and_a_type_for_everything(prometheus: FlaskClient) -> None:
    response = prometheus.get("/metrics")
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(response.text))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.documentation
        assert family.type in ("gauge", "counter", "histogram")


def test_live_answers_are_counted_by_state_and_ended_ones_are_not(
    prometheus: FlaskClient, runtime: Runtime, clock: TurnableClock
) -> None:
    assert _named(_scrape(prometheus), "switchboard_generations") == {"queued": 0, "running": 0}
    for state in (GenerationState.RUNNING, GenerationState.DONE, GenerationState.FAILED):
        _set(runtime, _asked(runtime), state=state)
    _asked(runtime)
    _asked(runtime)
    assert _named(_scrape(prometheus), "switchboard_generations") == {"queued": 2, "running": 1}


def test_the_age_is_that_of_the_oldest_answer_that_waits(
    prometheus: FlaskClient, runtime: Runtime, clock: TurnableClock
) -> None:
    def age() -> float:
        return _scrape(prometheus)["switchboard_oldest_queued_generation_age_seconds", ""]

    assert age() == 0
    first, oldest = _asked(runtime), _asked(runtime)
    _set(runtime, first, state=GenerationState.RUNNING, created_at=clock.now() - timedelta(hours=1))
    clock.turn(timedelta(seconds=20))
    _asked(runtime)
    clock.turn(timedelta(seconds=10))
    assert age() == pytest.approx(30)
    _set(runtime, oldest, state=GenerationState.RUNNING)
    assert age() == pytest.approx(10)


def test_a_model_that_rests_is_not_available(prometheus: FlaskClient, runtime: Runtime) -> None:
    assert set(_named(_scrape(prometheus), "switchboard_model_available").values()) == {1}
    runtime.cooldowns.note_failure("good", ProviderError(ErrorKind.UNREACHABLE), uuid7())
    figures = _scrape(prometheus)
    available = _named(figures, "switchboard_model_available")
    assert [model for model, offered in available.items() if not offered] == ["good"]
    assert set(available) == set(runtime.models.names)
    assert _named(figures, "switchboard_model_resting") == {"unreachable" + "good": 1}


def test_queues_show_what_waits_in_them_and_whether_anybody_comes(prometheus: FlaskClient, redis: Redis) -> None:
    for _ in range(2):
        assert prometheus.post("/session/create", headers={"Prefer": "respond-async"}).status_code == 202
    Presence(redis).announce(["chat", "maintenance"], "worker@test")
    figures = _scrape(prometheus)
    assert _named(figures, "switchboard_queue_length") == {"sessions": 2, "chat": 0, "maintenance": 0}
    assert _named(figures, "switchboard_queue_consumers") == {"sessions": 0, "chat": 1, "maintenance": 1}


def test_without_a_check_nothing_is_said_about_the_invariants(prometheus: FlaskClient) -> None:
    assert not [name for name, _ in _scrape(prometheus) if "invariant" in name]


def test_a_broken_invariant_is_counted_and_its_ids_are_logged(
    prometheus: FlaskClient,
    runtime: Runtime,
    clock: TurnableClock,
    redis: Redis,
    check_invariants: Callable[[], int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert check_invariants() == 0
    holds = _named(_scrape(prometheus), "switchboard_invariant_broken")
    assert holds == dict.fromkeys((finding.name for finding in runtime.invariants.check()), 0)

    lost = [_asked(runtime), _asked(runtime)]
    for generation_id in lost:
        _set(runtime, generation_id, state=GenerationState.RUNNING, lease_until=clock.now() - timedelta(hours=1))
    _asked(runtime)
    clock.turn(timedelta(seconds=5))
    with caplog.at_level(logging.WARNING):
        assert check_invariants() == 1

    figures = _scrape(prometheus)
    assert _named(figures, "switchboard_invariant_broken") == {**holds, "owned": 2}
    at = figures["switchboard_invariants_checked_timestamp_seconds", ""]
    assert at == pytest.approx(clock.now().timestamp(), abs=0.001)
    # Other tests' processes may have lost their Redis meanwhile, and say so.
    (warning,) = [each.getMessage() for each in caplog.records if each.name == "workers.maintenance"]
    assert "owned" in warning
    assert all(str(generation_id) in warning for generation_id in lost)
    # A result that is not renewed is forgotten.
    assert 0 < redis.ttl(KEY) <= RESULT_TTL


def test_tasks_are_counted_by_how_they_ended_and_failed_rows_by_their_job(
    prometheus: FlaskClient, runtime: Runtime
) -> None:
    for _ in range(2):
        runtime.counters.count_outcomes("sessions.create", [Outcome.SUCCEEDED])
    runtime.counters.count_outcomes("sessions.create", [Outcome.FAILED])
    runtime.counters.count_failure("sweep")
    figures = _scrape(prometheus)
    ended = _named(figures, "switchboard_tasks_total")
    assert {task: count for task, count in ended.items() if count} == {
        "succeeded" + "sessions.create": 2,
        "failed" + "sessions.create": 1,
    }
    # What has not happened yet is 0, so that its first time is an increase.
    assert ended["failed" + "maintenance.sweep_expired"] == 0
    assert _named(figures, "switchboard_item_failures_total") == {"sweep": 1}


def test_a_scrape_leaves_nothing_and_tells_of_nobody(prometheus: FlaskClient, runtime: Runtime, redis: Redis) -> None:
    generation_id = _asked(runtime)
    with runtime.database.reading() as db:
        session_id = db.scalars(select(Session.id)).one()

    def keys() -> set[str]:
        """Without what is counted itself."""
        return {key for key in map(str, redis.scan_iter()) if not key.startswith("sb:{metrics}:")}

    before = keys()
    response = prometheus.get("/metrics", headers={"Authorization": "Bearer sb_key"})
    assert "Set-Cookie" not in response.headers
    for private in (str(session_id), str(generation_id), "sky", "sb_key", "127.0.0.1"):
        assert private not in response.text
    with runtime.database.reading() as db:
        assert db.scalar(select(func.count()).select_from(Session)) == 1
    assert keys() == before


def test_each_process_counts_for_itself(prometheus: FlaskClient) -> None:
    lines = [line for line in prometheus.get("/metrics").text.splitlines() if line.startswith("process_")]
    assert lines
    assert all('{pid="' in line for line in lines)


def _without(away: str, prometheus: FlaskClient) -> Figures:
    """What is told in time while one store, or several, are away: they are said to be, and soon all others not."""
    took = []

    def scrape() -> Figures:
        began = time.monotonic()
        figures = _scrape(prometheus)
        took.append(time.monotonic() - began)
        up = _named(figures, "switchboard_up")
        assert not any(up[store] for store in away.split())
        # One that answers may be late once: the test's machine is busy.
        return figures if sum(up.values()) == len(up) - len(away.split()) else {}

    figures = [wait_for(scrape, what="the other stores answer") for _ in range(3)][-1]
    assert sorted(took)[len(took) // 2] < DEADLINE
    return figures


OF_THE_DATABASE = {
    "switchboard_generations",
    "switchboard_oldest_queued_generation_age_seconds",
    "switchboard_expired_sessions",
    "switchboard_oldest_expired_session_age_seconds",
    "switchboard_takeovers_total",
    "switchboard_hand_offs_total",
    "switchboard_fallbacks_total",
    "switchboard_handovers_total",
}
OF_REDIS = {
    "switchboard_model_available",
    "switchboard_queue_consumers",
    "switchboard_job_overdue",
    "switchboard_tasks_total",
    "switchboard_redis_evicted_keys_total",
    "switchboard_swept_sessions_total",
    "switchboard_swept_accounts_total",
    "switchboard_swept_logins_total",
    "switchboard_swept_audit_events_total",
}
OF_THE_BROKER = {"switchboard_queue_length"}


def _ours(figures: Figures) -> set[str]:
    return {name for name, _ in figures if name.startswith("switchboard_")} - {
        "switchboard_up",
        "switchboard_build_info",
    }


@pytest.mark.parametrize("lose", [Valkey.stop, Valkey.freeze], ids=["stopped", "frozen"])
def test_without_redis_the_rest_is_told_in_time(
    own_valkey: Valkey, settings: Settings, serve: Serve, lose: Callable[[Valkey], None]
) -> None:
    prometheus = serve(Runtime(settings.model_copy(update={"configured_redis_url": own_valkey.url})))
    prometheus.get("/metrics")  # connections are made and kept
    lose(own_valkey)
    assert _ours(_without("redis broker", prometheus)) == OF_THE_DATABASE


@pytest.fixture
def silence() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "silent"])
def test_without_the_database_the_rest_is_told_in_time(
    settings: Settings, serve: Serve, silence: str, closed: bool
) -> None:
    away = f"postgresql://nobody@{'127.0.0.1:1' if closed else silence}/none"
    prometheus = serve(Runtime(settings.model_copy(update={"configured_database_url": away})))
    assert _ours(_without("database", prometheus)) == OF_REDIS | OF_THE_BROKER


def test_without_a_broker_of_its_own_the_rest_is_told_in_time(
    own_valkey: Valkey, settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    prometheus = serve(Runtime(settings.model_copy(update={"configured_broker_url": own_valkey.url})))
    assert prometheus.post("/session/create", headers={"Prefer": "respond-async"}).status_code == 202
    with monkeypatch.context() as context:
        context.setattr("web.monitoring.metrics.DEADLINE", 10)
        assert _scrape(prometheus)["switchboard_queue_length", "sessions"] == 1
    own_valkey.stop()
    assert _ours(_without("broker", prometheus)) == OF_THE_DATABASE | OF_REDIS


def test_a_database_that_takes_no_writes_is_not_up_and_its_figures_are_told(
    own_postgres: Postgres, settings: Settings, serve: Serve, patient: None, caplog: pytest.LogCaptureFixture
) -> None:
    url = own_postgres.create()
    name = make_url(url).database
    prometheus = serve(Runtime(settings.model_copy(update={"configured_database_url": url}), redis_retries=0))
    assert _named(_scrape(prometheus), "switchboard_up")["database"] == 1
    own_postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    own_postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    def told() -> bool:
        figures = _scrape(prometheus)
        assert _named(figures, "switchboard_up")["database"] == 0
        return _named(figures, "switchboard_generations") == {"queued": 0, "running": 0}

    wait_for(told, what="it is read over new connections")
    assert "the database is not ready: the database is read-only, or a standby" in caplog.text
    assert "database, which takes no writes" in prometheus.get("/readyz").get_json(force=True)["missing"]
    own_postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    wait_for(lambda: _named(_scrape(prometheus), "switchboard_up")["database"], what="it is up again")


def test_a_database_that_is_not_migrated_is_not_up(settings: Settings, serve: Serve, postgres: Postgres) -> None:
    url = postgres.create()
    stamp(url, known_revisions()[-2])
    prometheus = serve(Runtime(settings.model_copy(update={"configured_database_url": url})))
    _without("database", prometheus)
    postgres.drop(url)


def test_a_redis_that_is_full_is_not_up_and_the_log_says_why(
    own_valkey: Valkey, settings: Settings, serve: Serve, patient: None, caplog: pytest.LogCaptureFixture
) -> None:
    own = {"configured_redis_url": own_valkey.url}
    prometheus = serve(Runtime(settings.model_copy(update=own), redis_retries=0))
    own_valkey.fill()
    assert _named(_scrape(prometheus), "switchboard_up") == {"database": 1, "redis": 0, "broker": 0}
    assert "figures of the redis are missing: this Redis is out of memory (its maxmemory)" in caplog.text
    assert re.search(r"figures of the broker are missing: \S+: it is out of memory, and takes no writes", caplog.text)
    own_valkey.empty()
    assert _named(_scrape(prometheus), "switchboard_up") == {"database": 1, "redis": 1, "broker": 1}


def test_what_redis_evicts_is_counted(own_valkey: Valkey, settings: Settings, serve: Serve, patient: None) -> None:
    prometheus = serve(Runtime(settings.model_copy(update={"configured_redis_url": own_valkey.url})))
    assert _scrape(prometheus)["switchboard_redis_evicted_keys_total", ""] == 0
    with closing(own_valkey.client()) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.set("old", "x" * 1000)
        client.config_set("maxmemory", 1)
        client.config_set("maxmemory", 0)
    assert _scrape(prometheus)["switchboard_redis_evicted_keys_total", ""] >= 1


def test_a_store_that_is_back_is_seen_at_once(
    own_valkey: Valkey, settings: Settings, serve: Serve, patient: None
) -> None:
    own = {"configured_redis_url": own_valkey.url}
    prometheus = serve(Runtime(settings.model_copy(update=own), redis_retries=0))
    own_valkey.stop()
    assert _named(_scrape(prometheus), "switchboard_up") == {"database": 1, "redis": 0, "broker": 0}
    own_valkey.start()
    assert _named(_scrape(prometheus), "switchboard_up") == {"database": 1, "redis": 1, "broker": 1}


def test_a_broker_that_is_no_redis_is_missed_as_well(settings: Settings, serve: Serve) -> None:
    prometheus = serve(Runtime(settings.model_copy(update={"configured_broker_url": "amqp://127.0.0.1:1//"})))
    assert _ours(_without("broker", prometheus)) == OF_THE_DATABASE | OF_REDIS


REQUESTS = "http_server_request_duration_seconds_count"


def test_requests_are_counted_by_their_route_and_not_by_what_clients_make_up(prometheus: FlaskClient) -> None:
    for _ in range(2):
        assert prometheus.get("/healthz").status_code == 200
    assert prometheus.get(f"/tasks/{uuid7()}").status_code in (401, 403, 404)
    for made_up in ("/nowhere", "/healthz/too-far"):
        assert prometheus.get(made_up).status_code == 404
        assert prometheus.open(made_up, method="BREW").status_code in (404, 405)
    counted = {labels: count for (name, labels), count in _scrape(prometheus).items() if name == REQUESTS}
    assert counted["GET" + "200" + "/healthz"] == 2
    assert counted["GET" + "404" + "unmatched"] == 2
    assert sum(count for labels, count in counted.items() if labels.startswith("_OTHER")) == 2
    for labels in counted:
        assert not re.search(r"nowhere|too-far|BREW|[0-9a-f]{8}-", labels)
    assert any("/tasks/<" in labels for labels in counted)


def test_counters_are_the_same_from_every_process_and_only_grow(
    settings: Settings, serve: Serve, patient: None
) -> None:
    processes = [serve(Runtime(settings)) for _ in range(2)]
    seen = []
    for turn in range(6):
        processes[turn % 2].get("/healthz")
        seen += [_scrape(process)[REQUESTS, "GET" + "200" + "/healthz"] for process in (*processes, *processes)]
    assert seen == sorted(seen)
    assert seen[-1] == 6


def test_what_a_limit_refuses_is_counted_by_its_policy(prometheus: FlaskClient) -> None:
    refused = 0
    while refused < 2:
        refused += prometheus.post("/session/create", headers={"Prefer": "respond-async"}).status_code == 429
    assert sum(_named(_scrape(prometheus), "switchboard_limit_refusals_total").values()) == 2


def test_what_the_sweep_has_still_to_do_is_shown(
    prometheus: FlaskClient, runtime: Runtime, clock: TurnableClock
) -> None:
    _asked(runtime)
    with runtime.database.reading() as db:
        expired_at = db.scalars(select(Session.expires_at)).one()
    clock.turn(expired_at - clock.now() + timedelta(seconds=90))
    figures = _scrape(prometheus)
    assert figures["switchboard_expired_sessions", ""] == 1
    assert figures["switchboard_oldest_expired_session_age_seconds", ""] == pytest.approx(90)
    runtime.sweeper.sweep_expired()
    figures = _scrape(prometheus)
    assert figures["switchboard_expired_sessions", ""] == 0
    assert figures["switchboard_oldest_expired_session_age_seconds", ""] == 0
    assert figures["switchboard_answers_total", "good" + "deleted" + "deleted"] == 1


def test_a_job_shows_when_it_ran_last_and_whether_it_should_have_again(
    prometheus: FlaskClient, runtime: Runtime, redis: Redis
) -> None:
    overdue = dict.fromkeys(JOBS, 1.0)
    assert _named(_scrape(prometheus), "switchboard_job_overdue") == overdue
    runtime.runs.note("sweep", timedelta(seconds=60))
    figures = _scrape(prometheus)
    assert _named(figures, "switchboard_job_overdue") == {**overdue, "sweep": 0}
    ran = figures["switchboard_job_last_run_timestamp_seconds", "sweep"]
    assert ran == pytest.approx(time.time(), abs=60)
    redis.delete("sb:ran:sweep")  # its lifetime is over
    figures = _scrape(prometheus)
    assert _named(figures, "switchboard_job_overdue") == overdue
    assert figures["switchboard_job_last_run_timestamp_seconds", "sweep"] == ran
