"""What the rules and the dashboards of deploy/ ask for is what a running system exports."""

import re

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from core.runtime import Runtime
from tests.deploy.promtool import expressions, promtool
from tests.support.waiting import wait_for
from tests.web.sse import events

NAME = re.compile(r"\b(?:switchboard|gen_ai|http_server|process)_[a-z0-9_]+\b(?!:)")


def _ask(client: FlaskClient, model: str) -> None:
    for _ in events(client.post("/chat/sse", json={"message": "Why?", "model": model}).iter_encoded()):
        pass


@pytest.mark.one_database
def test_every_metric_that_is_asked_for_is_exported(client: FlaskClient, web_runtime: Runtime) -> None:
    asked = {name for each in expressions() for name in NAME.findall(each)}
    for model in ("thinks", "falls-back"):
        _ask(client, model)
    lost = client.get("/chat/sse", headers={"Last-Event-ID": "lost-1"}).iter_encoded()
    assert "reset" in next(event.type for event in events(lost) if event.type != "session")
    # What a worker does once a minute.
    web_runtime.check_results.save(web_runtime.invariants.check(), healed={})
    # What happens to no row and no visitor here, as it would be counted.
    web_runtime.counters.count_failure("sweep")
    web_runtime.counters.limit_refusals.labels("messages").inc()

    def missing() -> set[str]:
        text = client.get("/metrics").text
        samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
        labels = {label for sample in samples for label in sample.labels}
        return asked - labels - {sample.name for sample in samples}

    wait_for(lambda: not missing(), seconds=30, what="what is missing is exported")
    promtool("check", "metrics", given=client.get("/metrics").text)
