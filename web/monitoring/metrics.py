"""The figures for Prometheus.

All but `process_*` are the system's: they are read from the stores for each scrape, so every web process gives the
same ones, and it does not matter which of them a scrape reaches. They are the same from every machine, too: scrape
one, or take the `max` and never the `sum`. What processes count by the way, they tell Redis every other second
(core/operations/counters.py); what is counted of answers is in the database (core/stores/tally.py).

A process's own figures have a label `pid`. Several web processes share one port, and each scrape reaches one of them;
without the label their counters would seem to run backwards.

No label names a session, a person or anything they said, nor anything else that a client can make up.
"""

import logging
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from celery_config import QueueNames, TaskNames
from core.errors import Unavailable
from core.generation.answer_metrics import AnswerMetrics
from core.operations.counters import Outcome
from core.operations.job_runs import JOBS
from core.sessions.queries import MAX_BACKLOG
from core.stores.samples import expose, expose_gauges
from web.monitoring.queue_lengths import Queues
from web.monitoring.single_flight import SingleFlight
from web.services import Services

logger = logging.getLogger(__name__)

DEADLINE = 0.4
"""Seconds that the stores have, all at once: a scrape is answered within half a second."""


def new_registry(services: Services, queues: Queues) -> CollectorRegistry:
    """One application's figures: a registry of its own, not the library's global one."""
    registry = CollectorRegistry()
    registry.register(TheSystem(services, queues))
    registry.register(ThisProcess())
    registry.register(Build())
    PlatformCollector(registry)
    return registry


class TheSystem(Collector):
    """What the stores say. A store that fails or is late is not `up`, and its figures are missing; nor is a database
    that would not do what is asked of it, of which they can still be read."""

    def __init__(self, services: Services, queues: Queues) -> None:
        self._services = services
        self._queues = queues
        self._answers = AnswerMetrics(services.models.names)
        # What is rare begins at 0, so that its first time shows as an increase.
        for outcome in Outcome:
            for task in TaskNames.ALL:
                services.counters.tasks.labels(outcome, task)
        readers = {
            "database": self._database_figures,
            "redis": self._redis_figures,
            "broker": self._broker_figures,
        }
        self._reads = {store: _single_flight(store, reader) for store, reader in readers.items()}
        # The others' figures can be read only when they take writes.
        self._ready = SingleFlight("metrics-ready", lambda: services.session_queries.require_ready(DEADLINE))

    def collect(self) -> Iterator[Metric]:
        """All that is known within the deadline."""
        reads = {store: read.start() for store, read in self._reads.items()}
        ready = self._ready.start()
        asked: list[Future[Any]] = [*reads.values(), ready]
        wait(asked, timeout=DEADLINE)
        up = GaugeMetricFamily("switchboard_up", "Whether the store answers, and takes writes.", labels=["store"])
        for store, read in reads.items():
            if _is_done(read):
                yield from read.result()
            elif error := _error(read):
                logger.warning("the figures of the %s are missing: %s", store, _reason(error))
            up.add_metric([store], _is_done(read) and (store != "database" or _is_done(ready)))
        if (error := _error(ready)) and _is_done(reads["database"]):
            logger.warning("the database is not ready: %s", _reason(error))
        yield up

    def _database_figures(self) -> Iterator[Metric]:
        live = self._services.load.live()
        yield _by(
            "switchboard_generations",
            "Answers that wait for a worker (queued) or are being written (running).",
            "state",
            {"queued": live.queued, "running": live.running},
        )
        yield GaugeMetricFamily(
            "switchboard_oldest_queued_generation_age_seconds",
            "How long ago the oldest waiting answer was asked for; 0 when none waits.",
            live.oldest_queued.total_seconds(),
        )
        backlog = self._services.session_queries.backlog()
        yield GaugeMetricFamily(
            "switchboard_expired_sessions",
            f"Expired sessions that the sweep has still to delete; {MAX_BACKLOG} stands for that many and more.",
            backlog.count,
        )
        yield GaugeMetricFamily(
            "switchboard_oldest_expired_session_age_seconds",
            "How long ago the first of them has expired; 0 when there is none.",
            backlog.oldest.total_seconds(),
        )
        yield from expose(self._answers.registry, self._services.tally.samples())

    def _redis_figures(self) -> Iterator[Metric]:
        yield from self._model_figures()
        yield _by(
            "switchboard_queue_consumers",
            "Workers that have lately said that they consume from the queue.",
            "queue",
            self._services.presence.counts(QueueNames.ALL),
        )
        yield from self._job_figures()
        yield CounterMetricFamily(
            "switchboard_redis_evicted_keys",
            "Keys that Redis has dropped for want of memory since its start; its policy has to keep them.",
            self._services.redis.info("stats").get("evicted_keys", 0),
        )
        yield from self._counted()
        yield from self._invariant_figures()

    def _model_figures(self) -> Iterator[Metric]:
        models = self._services.models
        cooldowns = self._services.cooldowns.active(models.names)
        described = models.describe(cooldowns)["models"]
        yield _by(
            "switchboard_model_available",
            "Whether the model is offered: 0 while it rests after a failure, or lacks its key.",
            "model",
            {model["name"]: model["available"] for model in described},
        )
        resting = GaugeMetricFamily("switchboard_model_resting", "Which models rest, why.", labels=["kind", "model"])
        for name, cooldown in cooldowns.items():
            resting.add_metric([cooldown.kind, name], 1)
        yield resting

    def _invariant_figures(self) -> Iterator[Metric]:
        checked = self._services.check_results.latest()
        if checked is None:
            return
        yield _by(
            "switchboard_invariant_broken",
            "How much breaks the invariant; `switchboard invariants` names it.",
            "invariant",
            checked.broken,
        )
        healed = CounterMetricFamily(
            "switchboard_invariant_healed",
            "How much of what broke the invariant was healed by the maintenance task.",
            labels=["invariant"],
        )
        for name in checked.broken:
            healed.add_metric([name], checked.healed.get(name, 0))
        yield healed
        yield GaugeMetricFamily(
            "switchboard_invariants_checked_timestamp_seconds",
            "When the invariants were last checked (Unix time).",
            checked.at.timestamp(),
        )

    def _job_figures(self) -> Iterator[Metric]:
        runs = self._services.runs
        overdue = runs.overdue()
        yield _by(
            "switchboard_job_overdue",
            "Whether the scheduled job has not run for several of its periods.",
            "schedule",
            {job: job in overdue for job in JOBS},
        )
        yield _by(
            "switchboard_job_last_run_timestamp_seconds",
            "When the scheduled job has run last (Unix time).",
            "schedule",
            runs.last(),
        )

    def _counted(self) -> Iterator[Metric]:
        counters = self._services.counters
        counters.flush()  # this process's own, so that a scrape sees what was before it
        counted, gauges = counters.totals()
        yield from expose(counters.registry, counted)
        yield from expose_gauges(counters.registry, gauges)

    def _broker_figures(self) -> Iterator[Metric]:
        yield _by(
            "switchboard_queue_length",
            "Messages in the queue that no worker has taken yet.",
            "queue",
            self._queues.lengths(QueueNames.ALL),
        )


class ThisProcess(Collector):
    """What the operating system knows of the one process that answers."""

    def __init__(self) -> None:
        self._process = ProcessCollector(registry=None)

    def collect(self) -> Iterator[Metric]:
        """The library's own figures, with the process's number."""
        for metric in self._process.collect():
            metric.samples = [sample._replace(labels={"pid": str(os.getpid())}) for sample in metric.samples]
            yield metric


class Build(Collector):
    """Which version it is."""

    def collect(self) -> Iterator[Metric]:
        """A 1 with the versions as labels."""
        build = GaugeMetricFamily(
            "switchboard_build_info", "The version of this process, and of its Python.", labels=["python", "version"]
        )
        build.add_metric([platform.python_version(), version("switchboard")], 1)
        yield build


def _is_done(call: "Future[Any]") -> bool:
    return call.done() and call.exception() is None


def _error(call: "Future[Any]") -> BaseException | None:
    return call.exception() if call.done() else None


def _reason(error: BaseException) -> str:
    return error.reason if isinstance(error, Unavailable) else type(error).__name__


def _single_flight(store: str, reader: Callable[[], Iterable[Metric]]) -> SingleFlight[list[Metric]]:
    return SingleFlight(f"metrics-{store}", lambda: list(reader()))


def _by(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    metric = GaugeMetricFamily(name, meaning, labels=[label])
    for value, number in values.items():
        metric.add_metric([value], number)
    return metric
