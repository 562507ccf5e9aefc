"""The rules for Prometheus: they can be read, each alert fires when it should and not when all is well, and each has
a section in the runbook."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.deploy.promtool import CONFIGURATION, DASHBOARDS, ROOT, RULES, alerts, expressions, promtool, rules

RUNBOOK = ROOT / "docs" / "runbook.md"


class Case(NamedTuple):
    """What is wrong for an hour, and how an alert tells of it."""

    alert: str
    series: dict[str, str]
    summary: str
    labels: dict[str, str] = {}


def _tokens(model: str, bucket: str) -> str:
    name = "gen_ai_server_time_to_first_token_seconds_bucket"
    return f'{name}{{gen_ai_operation_name="chat",gen_ai_request_model="{model}",le="{bucket}"}}'


REQUESTS = "http_server_request_duration_seconds_count"
WAIT = "switchboard_task_queue_wait_seconds_bucket"
CASES = (
    Case("SwitchboardDown", {'up{job="switchboard"}': "0x60"}, "No web process of Switchboard answers a scrape."),
    Case(
        "SwitchboardStoreDown",
        {'switchboard_up{store="redis"}': "0x60", 'switchboard_up{store="database"}': "1x60"},
        "The redis does not answer, or takes no writes.",
        {"store": "redis"},
    ),
    Case(
        "SwitchboardNoConsumer",
        {
            'switchboard_queue_consumers{queue="chat"}': "0x60",
            'switchboard_queue_consumers{queue="sessions"}': "2x60",
        },
        "No worker consumes from the queue chat.",
        {"queue": "chat"},
    ),
    Case(
        "SwitchboardAnswersWait",
        {"switchboard_oldest_queued_generation_age_seconds": "45x60"},
        "A question has waited for 45s and nobody answers it yet.",
    ),
    Case(
        "SwitchboardCommandsWait",
        {
            f'{WAIT}{{task="sessions.create",le="5"}}': "0x60",
            f'{WAIT}{{task="sessions.create",le="10"}}': "0+60x60",
            f'{WAIT}{{task="sessions.create",le="+Inf"}}': "0+60x60",
            f'{WAIT}{{task="sessions.switch_model",le="0.1"}}': "0+60x60",
            f'{WAIT}{{task="sessions.switch_model",le="+Inf"}}': "0+60x60",
        },
        "sessions.create waits for 9.75s before a worker takes it.",
        {"task": "sessions.create"},
    ),
    Case(
        "SwitchboardRequestsFail",
        {
            f'{REQUESTS}{{instance="a",http_route="/chat",http_response_status_code="503"}}': "0+10x60",
            f'{REQUESTS}{{instance="a",http_route="/chat",http_response_status_code="202"}}': "0+30x60",
        },
        "25% of the requests are answered with an error of the server.",
    ),
    Case(
        "SwitchboardAnswersFail",
        {
            'switchboard_answers_total{instance="a",model="m",outcome="failed",reason="unavailable"}': "0+10x60",
            'switchboard_answers_total{instance="a",model="m",outcome="done",reason="stop"}': "0+30x60",
            'switchboard_answers_total{instance="a",model="m",outcome="deleted",reason="deleted"}': "0+99x60",
        },
        "25% of the answers fail.",
    ),
    Case(
        "SwitchboardFirstTokenSlow",
        {
            _tokens("slow", "20"): "0x60",
            _tokens("slow", "40"): "0+60x60",
            _tokens("slow", "+Inf"): "0+60x60",
            _tokens("quick", "0.5"): "0+60x60",
            _tokens("quick", "+Inf"): "0+60x60",
        },
        "One question in twenty to slow waits longer than 39s for its first word.",
        {"gen_ai_request_model": "slow"},
    ),
    Case(
        "SwitchboardModelRests",
        {'switchboard_model_resting{kind="quota",model="m"}': "1x60"},
        "The model m rests: quota.",
        {"kind": "quota", "model": "m"},
    ),
    Case(
        "SwitchboardWorkersLost",
        {'switchboard_takeovers_total{instance="a",model="m"}': "0+1x60"},
        "15 attempts at answers have lost their worker within a quarter of an hour.",
    ),
    Case(
        "SwitchboardManyResets",
        {
            'switchboard_stream_resets_total{instance="a",reason="unknown-cursor"}': "0+5x60",
            'switchboard_streams_total{instance="a",kind="new"}': "0+10x60",
        },
        "50% of the streams had to read their conversation again.",
    ),
    Case(
        "SwitchboardRedisEvicts",
        {"switchboard_redis_evicted_keys_total": "0+3x60"},
        "Redis drops keys for want of memory, queues and conversations among them.",
    ),
    Case(
        "SwitchboardPoolExhausted",
        {'switchboard_pool_usage_ratio{pool="database",process="web"}': "1x60"},
        "A web process uses all its connections to the database.",
        {"pool": "database", "process": "web"},
    ),
    Case(
        "SwitchboardTasksFail",
        {'switchboard_tasks_total{outcome="failed",task="sessions.create"}': "0x55 1x5"},
        "sessions.create has failed unexpectedly.",
        {"task": "sessions.create"},
    ),
    Case(
        "SwitchboardItemsFail",
        {'switchboard_item_failures_total{quarantine="reaper"}': "0x30 1x30"},
        "Rows or keys can't be handled by: reaper.",
        {"quarantine": "reaper"},
    ),
    Case(
        "SwitchboardInvariantBroken",
        {
            'switchboard_invariant_broken{invariant="owned"}': "2x60",
            'switchboard_invariant_broken{invariant="x"}': "0x60",
        },
        "What must never be is: owned, 2 times.",
        {"invariant": "owned"},
    ),
    Case(
        "SwitchboardInvariantsNotChecked",
        {'switchboard_up{store="redis"}': "1x60"},
        "Nobody has looked at the invariants lately.",
    ),
    Case(
        "SwitchboardScheduleStandsStill",
        {'switchboard_job_overdue{schedule="sweep"}': "1x60", 'switchboard_job_overdue{schedule="beat"}': "0x60"},
        "sweep has not run for several of its periods.",
        {"schedule": "sweep"},
    ),
    Case(
        "SwitchboardSweepBehind",
        {"switchboard_oldest_expired_session_age_seconds": "1800x60"},
        "A session that expired 30m 0s ago is still there.",
    ),
)
WELL = {
    'up{job="switchboard",instance="a"}': "1x60",
    'up{job="switchboard",instance="b"}': "0x60",
    'switchboard_up{store="redis"}': "1x60",
    'switchboard_queue_consumers{queue="chat"}': "1x60",
    "switchboard_oldest_queued_generation_age_seconds": "2x60",
    f'{WAIT}{{task="sessions.create",le="0.1"}}': "0+60x60",
    f'{WAIT}{{task="sessions.create",le="+Inf"}}': "0+60x60",
    f'{REQUESTS}{{instance="a",http_route="/chat",http_response_status_code="202"}}': "0+30x60",
    f'{REQUESTS}{{instance="a",http_route="/readyz",http_response_status_code="503"}}': "0+30x60",
    'switchboard_answers_total{instance="a",model="m",outcome="done",reason="stop"}': "0+30x60",
    'switchboard_answers_total{instance="a",model="m",outcome="stopped",reason="stopped"}': "0+30x60",
    _tokens("quick", "0.5"): "0+60x60",
    _tokens("quick", "+Inf"): "0+60x60",
    'switchboard_takeovers_total{instance="a",model="m"}': "0x30 1x30",
    'switchboard_stream_resets_total{instance="a",reason="unknown-cursor"}': "0+1x60",
    'switchboard_streams_total{instance="a",kind="new"}': "0+2x60",
    'switchboard_pool_usage_ratio{pool="database",process="web"}': "0.8x60",
    'switchboard_tasks_total{outcome="failed",task="sessions.create"}': "3x60",
    'switchboard_item_failures_total{quarantine="reaper"}': "3x60",
    'switchboard_invariant_broken{invariant="owned"}': "0x60",
    "switchboard_invariants_checked_timestamp_seconds": "0+60x60",
    'switchboard_job_overdue{schedule="sweep"}': "0x60",
    "switchboard_oldest_expired_session_age_seconds": "60x60",
}
"""An hour on which nobody is to be told of anything, though one of two web processes is away."""


def _input(series: dict[str, str]) -> list[dict[str, str]]:
    return [{"series": name, "values": values} for name, values in series.items()]


def _test(directory: Path, series: dict[str, str], expected: list[dict[str, Any]]) -> None:
    tests = {
        "rule_files": [str(RULES)],
        "tests": [{"interval": "1m", "input_series": _input(series), "alert_rule_test": expected}],
    }
    path = directory / "rules.test.yml"
    path.write_text(json.dumps(tests))  # which is YAML
    promtool("test", "rules", str(path))


def test_promtool_finds_no_fault() -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", str(CONFIGURATION))


def test_every_alert_has_a_case() -> None:
    assert sorted(case.alert for case in CASES) == sorted(alert["alert"] for alert in alerts())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires(case: Case, tmp_path: Path) -> None:
    (rule,) = [alert for alert in alerts() if alert["alert"] == case.alert]
    annotations = {"summary": case.summary, "runbook_url": rule["annotations"]["runbook_url"]}
    labels = {**rule["labels"], **case.labels}
    fires = {
        "eval_time": "59m",
        "alertname": case.alert,
        "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}],
    }
    _test(tmp_path, case.series, [fires])


def test_none_fires_when_all_is_well(tmp_path: Path) -> None:
    quiet = [{"eval_time": "59m", "alertname": alert["alert"], "exp_alerts": []} for alert in alerts()]
    _test(tmp_path, WELL, quiet)


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_has_a_section_in_the_runbook(alert: dict[str, Any]) -> None:
    document, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert (ROOT / document) == RUNBOOK
    assert anchor == alert["alert"].lower()
    sections = re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)
    (section,) = [each for each in sections if each.split("\n", 1)[0].lower() == anchor]
    for part in ("**Means.**", "**People notice.**", "**Look at.**", "**Do.**"):
        assert part in section


def test_what_is_asked_was_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {name for each in expressions() for name in re.findall(r"switchboard:[a-z0-9_:]+", each)}
    assert asked <= recorded
    assert len(recorded) == len([rule for rule in rules() if "record" in rule])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_leaves_the_source_of_its_data_open(path: Path) -> None:
    board = json.loads(path.read_text())
    assert [each["type"] for each in board["templating"]["list"]] == ["datasource"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board["panels"]:
        if panel["type"] != "row":
            assert {each["datasource"]["uid"] for each in [panel, *panel["targets"]]} == {"${datasource}"}
